//! The codes of rejected input. They are stable: a code is never given a second meaning. `docs/errors-intake.md` says
//! what each means and what to do about it.

/// Not valid JSON.
pub const SYNTAX: &str = "CDN-1001";
/// Not UTF-8.
pub const NOT_UTF8: &str = "CDN-1002";
/// Larger than the limit for one document.
pub const TOO_LARGE: &str = "CDN-1003";
/// Nested deeper than any finding is.
pub const TOO_DEEP: &str = "CDN-1004";
/// The input ends, or the next document begins, before this one is complete.
pub const TRUNCATED: &str = "CDN-1005";
/// A JSON value that is no object: a number, a text.
pub const NOT_AN_OBJECT: &str = "CDN-1006";
/// An object that is neither a known event nor a finding in a known format.
pub const UNRECOGNISED: &str = "CDN-1007";
/// An EventBridge event pattern, not an event.
pub const EVENT_PATTERN: &str = "CDN-1008";
/// An envelope that announces a finding and holds none, or holds something else in its place.
pub const NO_CONTENT: &str = "CDN-1009";
/// The input could not be read.
pub const UNREADABLE: &str = "CDN-1010";
/// A finding without an id.
pub const NO_ID: &str = "CDN-1011";
/// A finding without a type.
pub const NO_TYPE: &str = "CDN-1012";
/// A finding without an account.
pub const NO_ACCOUNT: &str = "CDN-1013";
/// An account id that is not twelve digits.
pub const BAD_ACCOUNT: &str = "CDN-1014";
/// A finding without a Region.
pub const NO_REGION: &str = "CDN-1015";
/// A Region that does not exist.
pub const BAD_REGION: &str = "CDN-1016";
/// An ARN that names another account than the finding's.
pub const OTHER_ACCOUNT: &str = "CDN-1017";

/// All codes.
pub const ALL: &[&str] = &[
    SYNTAX,
    NOT_UTF8,
    TOO_LARGE,
    TOO_DEEP,
    TRUNCATED,
    NOT_AN_OBJECT,
    UNRECOGNISED,
    EVENT_PATTERN,
    NO_CONTENT,
    UNREADABLE,
    NO_ID,
    NO_TYPE,
    NO_ACCOUNT,
    BAD_ACCOUNT,
    NO_REGION,
    BAD_REGION,
    OTHER_ACCOUNT,
];
