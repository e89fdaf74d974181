//! `mydocker network create`

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::ExitCode;

use ipnet::IpNet;

use crate::cli::output::print;
use crate::cli::{CommandError, Context, failed, key_value};
use crate::engine::{CreateNetwork, DEFAULT_MTU, DriverKind, Mode, Subnet};
use crate::names::NetworkName;

/// Create a network: a bridge with a gateway address, its firewall elements, and forwarding
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mydocker network create --subnet 192.168.0.0/24 testbr0
  mydocker network create --subnet 10.5.0.1/16 --ip-range 10.5.7.0/24 --subnet fd00:5::/64 dual0")]
pub(in crate::cli) struct Args {
    /// The driver of the network
    #[arg(long, short, value_name = "DRIVER", default_value = "bridge", value_parser = driver)]
    driver: DriverKind,
    /// The subnet, from /8 to /30, or in IPv6 from /16 to /126; may be given once for each family. Host bits
    /// choose the gateway: 10.5.0.9/16 (default: the next free /24 of 10.89.0.0/16)
    #[arg(long, value_name = "CIDR", value_parser = Subnet::parse_with_gateway)]
    subnet: Vec<(Subnet, Option<IpAddr>)>,
    /// The gateway, which is the bridge's address; may be given once for each family (default: the lowest
    /// address of the subnet)
    #[arg(long, value_name = "IP")]
    gateway: Vec<IpAddr>,
    /// The part of the subnet that containers' addresses are chosen from; may be given once for each family
    /// (default: all of it)
    #[arg(long = "ip-range", value_name = "CIDR", value_parser = range)]
    ip_range: Vec<IpNet>,
    /// Never give out this address; may be given more than once, also as NAME=IP
    #[arg(long, visible_alias = "aux-address", value_name = "IP", value_parser = reserved)]
    reserve: Vec<IpAddr>,
    /// Give the network IPv4 addresses in addition to an IPv6 --subnet, or with =false none
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv4: Option<bool>,
    /// Give the network IPv6 addresses, without an IPv6 --subnet a /64 of this machine's unique local prefix
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<bool>,
    /// Forward nothing in or out: containers reach each other, and the host by its addresses; published ports
    /// are refused to all but the host
    #[arg(long)]
    internal: bool,
    /// Let other networks reach it through published ports only
    #[arg(long)]
    isolate: bool,
    /// Let containers of the network reach each other, and those of other networks, through published ports only
    #[arg(long)]
    no_icc: bool,
    /// How containers are reached from outside and seen there: nat is at published ports, under the host's
    /// address; routed is at every port, under their own addresses
    #[arg(long, value_name = "MODE", default_value = "nat", value_parser = mode)]
    mode: Mode,
    /// Do not masquerade: packets leave under the containers' own addresses, which somebody else has to route
    /// or translate
    #[arg(long)]
    no_masquerade: bool,
    /// Drop what containers send from addresses that are not routed to them, and let none of them take another's
    /// address by ARP or neighbour discovery (always so with --internal)
    #[arg(long)]
    check_source: bool,
    /// The MTU of the network's devices, in bytes
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MTU, value_parser = clap::value_parser!(u32).range(68..=65535))]
    mtu: u32,
    /// An option under Docker's name, com.docker.network.…: bridge.name, bridge.enable_icc,
    /// bridge.enable_ip_masquerade, bridge.gateway_mode_ipv4, bridge.gateway_mode_ipv6 or driver.mtu; may be given more
    /// than once
    #[arg(long = "opt", short = 'o', value_name = "KEY=VALUE", value_parser = key_value)]
    options: Vec<(String, String)>,
    /// A label, for your own use; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// Print what would change in the firewall table, as text for nft -f, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The name of the network: at most 63 characters. Its bridge device has the same name, or one that begins with br-
    /// where the name is longer than 15
    #[arg(value_name = "NAME")]
    name: NetworkName,
}

fn driver(name: &str) -> Result<DriverKind, String> {
    match name {
        "bridge" => Ok(DriverKind::Bridge),
        other => Err(format!("unknown driver \"{other}\": the only driver is bridge")),
    }
}

fn mode(name: &str) -> Result<Mode, String> {
    let modes = [Mode::Nat, Mode::Routed];
    let found = modes.into_iter().find(|mode| mode.as_str() == name);
    found.ok_or_else(|| format!("unknown mode \"{name}\": expected nat or routed"))
}

/// `IP`, or `NAME=IP` as Docker has it for addresses of other machines.
fn reserved(text: &str) -> Result<IpAddr, String> {
    let address = text.rsplit_once('=').map_or(text, |(_, address)| address);
    address.parse().map_err(|_| format!("\"{text}\" is not an address: expected IP or NAME=IP"))
}

fn range(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a range of addresses: expected ADDRESS/PREFIX"))
}

/// Whether addresses belong to somebody on the Internet, as far as no range for another purpose has them (IANA's
/// registries of special-purpose addresses, RFC 6890).
fn is_public(net: IpNet) -> bool {
    const SPECIAL: [&str; 13] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "240.0.0.0/4",
    ];
    let special = SPECIAL.iter().filter_map(|range| range.parse::<IpNet>().ok());
    match net {
        IpNet::V4(_) => special.into_iter().all(|range| !range.contains(&net)),
        // Of IPv6, only 2000::/3 was given out; 2001:db8::/32 of it is for documentation.
        IpNet::V6(v6) => {
            let start = v6.network().segments();
            start[0] & 0xe000 == 0x2000 && (start[0], start[1]) != (0x2001, 0x0db8)
        }
    }
}

pub(super) fn run(args: Args, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut request = CreateNetwork {
        name: args.name,
        driver: args.driver,
        subnets: args.subnet,
        ipv4: args.ipv4,
        ipv6: args.ipv6,
        gateways: args.gateway,
        ranges: args.ip_range,
        reserved: args.reserve,
        internal: args.internal,
        isolated: args.isolate,
        apart: args.no_icc,
        mode: args.mode,
        masquerade: !args.no_masquerade,
        check_source: args.check_source,
        mtu: args.mtu,
        bridge: None,
        origin: None,
        labels: args.labels.into_iter().collect(),
    };
    let given = &mut BTreeMap::new();
    for (key, value) in &args.options {
        // Of one that is given twice, the last one counts.
        given.insert(key.as_str(), value.as_str());
    }
    docker_options(&mut request, given)?;
    if request.mode == Mode::Nat {
        request.subnets.iter().filter(|(subnet, _)| is_public(subnet.net())).for_each(|(subnet, _)| {
            tracing::warn!(
                "{subnet} is a range of public addresses: from this host, nobody reaches those who have them any more; \
                 10.0.0.0/8, 172.16.0.0/12 and 192.168.0.0/16 are for private use"
            );
        });
    }
    if args.dry_run {
        print(&context.engine()?.plan_create_network(&request)?);
        return Ok(ExitCode::SUCCESS);
    }
    let network = context.engine()?.create_network(&request)?;
    print(&format!("{}\n", network.name));
    Ok(ExitCode::SUCCESS)
}

/// Fills in what Docker's options say.
fn docker_options(request: &mut CreateNetwork, given: &BTreeMap<&str, &str>) -> Result<(), CommandError> {
    let mut modes = Vec::new();
    for (key, value) in given {
        let wrong = |expected: &str| {
            failed(
                &format!("--opt {key}={value}: expected {expected}"),
                Some("see mydocker network create --help"),
            )
        };
        let truth = || match *value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(wrong("true or false")),
        };
        match key.strip_prefix("com.docker.network.").unwrap_or(key) {
            "bridge.name" => {
                let expected = "the name of a device: 1 to 15 characters without '/' and spaces";
                request.bridge = Some(value.parse().map_err(|_| wrong(expected))?);
            }
            "bridge.enable_icc" => request.apart = !truth()?,
            "bridge.enable_ip_masquerade" => request.masquerade = truth()?,
            "driver.mtu" => {
                let mtu = value.parse().ok().filter(|mtu| (68..=65535).contains(mtu));
                request.mtu = mtu.ok_or_else(|| wrong("a number of bytes from 68 to 65535"))?;
            }
            "bridge.gateway_mode_ipv4" | "bridge.gateway_mode_ipv6" => {
                request.mode = mode(value).map_err(|_| wrong("nat or routed"))?;
                modes.push(request.mode);
            }
            _ => {
                let message = format!("--opt {key}: mydocker does not have this option of networks");
                return Err(failed(
                    &message,
                    Some("see mydocker network create --help for those that it has"),
                ));
            }
        }
    }
    if modes.windows(2).any(|pair| pair[0] != pair[1]) {
        let message =
            "--opt: gateway_mode_ipv4 and gateway_mode_ipv6 differ: a network has one mode for both";
        return Err(failed(message, None));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_the_internet_are_told_from_others() {
        for public in ["162.16.0.0/24", "172.32.0.0/16", "8.8.8.0/24", "100.0.0.0/8", "2a00:1450::/64"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for own in [
            "172.16.0.0/24",
            "10.89.0.0/24",
            "192.168.7.0/24",
            "100.64.0.0/10",
            "198.51.100.0/24",
            "fd00::/64",
        ] {
            assert!(!is_public(own.parse().unwrap()), "{own}");
        }
        assert!(!is_public("2001:db8:1::/64".parse().unwrap()));
    }
}
