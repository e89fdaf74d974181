//! The life of a container: its record, its supervisor, its log, and those who are connected to it.

pub mod attach;
pub mod changes;
pub mod check;
pub mod detach;
pub mod health;
pub mod index;
pub mod log;
pub mod protocol;
pub mod record;
pub mod restart;
pub mod signal;
pub mod supervisor;
pub mod view;
