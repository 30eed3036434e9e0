//! Report files for CI: valid and inert whatever a guest, a file or its name says.

mod annotations;
mod browser;
mod command;
mod demo;
mod pages;
mod rows;
mod saved;
mod sinks;
mod tables;
mod traces;
mod xml;
