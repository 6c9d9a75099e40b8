//! statusquo.
