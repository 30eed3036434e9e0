//! Reports for people who would rather look than read, all made from recorded events: folds over
//! one run's log, and the page, the trace and the packets that they become.

pub mod behind;
pub mod digest;
pub mod html;
pub mod life;
pub mod packets;
pub mod pages;
pub mod repeats;
pub mod sentence;
pub mod slots;
pub mod spent;
pub mod timeline;
pub mod trace;
