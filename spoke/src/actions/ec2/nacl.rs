//! Network ACLs: what their entries decide, the calls about them, and what must be known before an address is denied in one.

pub mod acl;
pub mod around;
pub mod entries;
pub mod wire;
