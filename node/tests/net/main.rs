//! Real nodes over loopback: they find each other, carry data, refuse what they must, and recover.

mod carry;
mod find;
mod raw;
mod refuse;
mod stage;
