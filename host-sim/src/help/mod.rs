//! What uvsim says about itself: the pages of `explain`, the templates of `new`, the references of
//! `schema`.

pub mod codes;
pub mod page;
pub mod reference;
pub mod result_schema;
pub mod shown;
pub mod templates;
pub mod terms;
pub mod topics;
