//! Networks

mod ipam;
mod record;
mod subnet;
mod subnet_file;
