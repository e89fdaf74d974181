//! A driver of Podman's own back end, which asks for one network at a time.

use std::ffi::OsString;
use std::io;

use serde_json::{Value, json};

use super::{
    Container, Failure, Membership, Plan, attacher, container_id, names, printed, remove_network, take_down,
    words,
};
use crate::engine::{Origin, OtherEngine, Wanted};
use crate::plugin::json::Object;
use crate::plugin::{Answer, Roots};

/// The version of the drivers' contract.
const DRIVER_API: &str = "1.0.0";

/// Does what Podman's own back end asks for networks of the driver `mydocker`.
pub(in crate::plugin) fn answer(
    roots: Roots,
    arguments: &[OsString],
    environment: &dyn Fn(&str) -> Option<String>,
    input: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Answer {
    printed(drive(roots, arguments, environment, input))
}

fn drive(
    roots: Roots,
    arguments: &[OsString],
    environment: &dyn Fn(&str) -> Option<String>,
    input: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Result<String, Failure> {
    let words = words(arguments)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let read =
        || -> Result<Value, Failure> { Ok(serde_json::from_slice(&input().map_err(Failure::Input)?)?) };
    match words[..] {
        ["info"] => {
            let info = json!({ "version": env!("CARGO_PKG_VERSION"), "api_version": DRIVER_API });
            Ok(format!("{info}\n"))
        }
        ["create"] => {
            // It is made with its first container; what cannot be made is refused here.
            let network = read()?;
            let info = Object::of(&network, "")?;
            let name = info.required("name", "the name of a network")?;
            let origin = Origin { engine: OtherEngine::Podman, name };
            Plan::of_network(&origin, &info, Wanted::default(), false)?;
            Ok(format!("{network}\n"))
        }
        ["setup", netns] => {
            let input = read()?;
            let (membership, options) = driven(&input)?;
            let plan = Plan::read(&membership)?;
            names::port(environment).check(&plan)?;
            let container = Container::read(&options, netns)?;
            let mut attacher = attacher(roots);
            match plan.carry_out(&membership, &container, &container.ports, &mut attacher) {
                Ok(status) => Ok(format!("{status}\n")),
                Err(error) => {
                    remove_network(&membership.key, &mut attacher).ok();
                    Err(error)
                }
            }
        }
        ["teardown", _] => {
            let input = read()?;
            take_down(&driven(&input)?.0.key, &mut attacher(roots))?;
            Ok(String::new())
        }
        _ => Err(Failure::Refused("expected info, create, setup NAMESPACE or teardown NAMESPACE".to_owned())),
    }
}

/// The one network that a driver is called for.
fn driven(input: &Value) -> Result<(Membership<'_>, Object<'_>), Failure> {
    let options = Object::of(input, "")?;
    let container = container_id(&options)?;
    let info = options.object("network")?.ok_or_else(|| options.unexpected("network", "a network"))?;
    let own = options.object("network_options")?;
    let own = own.ok_or_else(|| options.unexpected("network_options", "what a container asks for"))?;
    let name = info.required("name", "the name of a network")?;
    Ok((Membership::new(name, &container, own, Some(info))?, options))
}
