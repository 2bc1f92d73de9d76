//! The simulator of the Shoal protocol.
