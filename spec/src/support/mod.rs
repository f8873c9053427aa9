//! What kubevmm does with each field of the API. The statuses stand beside the fields in [`crate::api`]; here they are
//! applied to documents, listed, and made into the compatibility page.

mod check;
mod list;
mod markdown;
mod words;

pub(crate) use check::check;
pub use list::{Entry, Status, list};
pub use markdown::markdown;
pub(crate) use words::check as check_words;
