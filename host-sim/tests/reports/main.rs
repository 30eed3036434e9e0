//! Report files for CI: valid and inert whatever a guest, a file or its name says.

mod annotations;
mod command;
mod rows;
mod saved;
mod tables;
mod xml;
