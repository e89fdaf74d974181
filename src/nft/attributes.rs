//! Attribute numbers of `<linux/netfilter/nf_tables.h>`, by expression.

pub(super) mod meta {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const KEY: u16 = 2;
}
pub(super) mod payload {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const BASE: u16 = 2;
    pub(in crate::nft) const OFFSET: u16 = 3;
    pub(in crate::nft) const LEN: u16 = 4;
}
pub(super) mod ct {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const KEY: u16 = 2;
    pub(in crate::nft) const DIRECTION: u16 = 3;
}
pub(super) mod fib {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const RESULT: u16 = 2;
    pub(in crate::nft) const FLAGS: u16 = 3;
}
pub(super) mod bitwise {
    pub(in crate::nft) const SREG: u16 = 1;
    pub(in crate::nft) const DREG: u16 = 2;
    pub(in crate::nft) const MASK: u16 = 4;
    pub(in crate::nft) const XOR: u16 = 5;
    pub(in crate::nft) const OP: u16 = 6;
}
pub(super) mod cmp {
    pub(in crate::nft) const SREG: u16 = 1;
    pub(in crate::nft) const OP: u16 = 2;
    pub(in crate::nft) const DATA: u16 = 3;
}
pub(super) mod lookup {
    pub(in crate::nft) const SET: u16 = 1;
    pub(in crate::nft) const SREG: u16 = 2;
    pub(in crate::nft) const DREG: u16 = 3;
    pub(in crate::nft) const FLAGS: u16 = 5;
}
pub(super) mod nat {
    pub(in crate::nft) const TYPE: u16 = 1;
    pub(in crate::nft) const FAMILY: u16 = 2;
    pub(in crate::nft) const REG_ADDR_MIN: u16 = 3;
    pub(in crate::nft) const REG_ADDR_MAX: u16 = 4;
    pub(in crate::nft) const REG_PROTO_MIN: u16 = 5;
    pub(in crate::nft) const REG_PROTO_MAX: u16 = 6;
    pub(in crate::nft) const FLAGS: u16 = 7;
}
pub(super) mod reject {
    pub(in crate::nft) const TYPE: u16 = 1;
    pub(in crate::nft) const CODE: u16 = 2;
    pub(in crate::nft) const ICMPX_UNREACH: u32 = 2;
    pub(in crate::nft) const ICMPX_PORT_UNREACH: u8 = 1;
}
pub(super) mod counter {
    pub(in crate::nft) const BYTES: u16 = 1;
    pub(in crate::nft) const PACKETS: u16 = 2;
}
pub(super) mod masq {
    pub(in crate::nft) const FLAGS: u16 = 1;
    pub(in crate::nft) const REG_PROTO_MIN: u16 = 2;
}
pub(super) mod immediate {
    pub(in crate::nft) const DREG: u16 = 1;
    pub(in crate::nft) const DATA: u16 = 2;
}
pub(super) mod verdict {
    pub(in crate::nft) const CODE: u16 = 1;
    pub(in crate::nft) const CHAIN: u16 = 2;
}
