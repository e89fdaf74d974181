use std::collections::BTreeMap;
use std::path::Path;

use super::feature::TABLE_PARTS;
use super::*;

/// A host of which everything can be taken away.
#[derive(Clone)]
struct Fake {
    release: &'static str,
    calls: Vec<i64>,
    file_systems: Vec<&'static str>,
    device_programs: bool,
    read_only: bool,
    files: BTreeMap<String, String>,
}

impl Host for Fake {
    fn release(&self) -> String {
        self.release.to_owned()
    }
    fn has_call(&self, number: i64) -> bool {
        self.calls.contains(&number)
    }
    fn has_file_system(&self, kind: &str) -> bool {
        self.file_systems.contains(&kind)
    }
    fn takes_device_programs(&self) -> bool {
        self.device_programs
    }
    fn is_read_only(&self, _: &Path) -> bool {
        self.read_only
    }
    fn read(&self, path: &str) -> Option<String> {
        self.files.get(path).cloned()
    }
    fn exists(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }
}

const LIST: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t1\t1\ncpu\t0\t1\t1\nblkio\t0\t1\t1\n\
    memory\t0\t1\t1\ndevices\t0\t1\t1\nfreezer\t0\t1\t1\npids\t0\t1\t1";

/// A host with all of it, and its control groups of version 2.
fn complete() -> (Fake, Groups) {
    let mut files = BTreeMap::from([
        ("/proc/modules".to_owned(), String::new()),
        ("/proc/sys/kernel/osrelease".to_owned(), "6.1.0".to_owned()),
        ("/lib/modules/6.1.0".to_owned(), String::new()),
        (SECCOMP_ACTIONS.to_owned(), "kill errno log allow".to_owned()),
        (BUILT_CONTROLLERS.to_owned(), LIST.to_owned()),
        (APPARMOR.to_owned(), "Y".to_owned()),
    ]);
    for (name, _) in NAMESPACES {
        files.insert(format!("/proc/self/ns/{name}"), String::new());
        files.insert(format!("/proc/sys/user/max_{name}_namespaces"), "15000".to_owned());
    }
    let fake = Fake {
        release: "6.1.0",
        calls: CALLS.map(|(_, number, _)| number).to_vec(),
        file_systems: FILE_SYSTEMS.map(|(name, _)| name).to_vec(),
        device_programs: true,
        read_only: false,
        files,
    };
    let controllers = CONTROLLERS.map(|(name, ..)| name.to_owned()).to_vec();
    (fake, Groups { tree: Some(CGROUP_ROOT.into()), unified: true, beside: false, controllers })
}

/// The same with version 1.
fn complete_legacy() -> (Fake, Groups) {
    let (fake, mut groups) = complete();
    (groups.tree, groups.unified) = (Some("/sys/fs/cgroup/blkio".into()), false);
    groups.controllers = CONTROLLERS.map(|(_, old, ..)| old.to_owned()).to_vec();
    groups.controllers.extend(["freezer", "devices"].map(str::to_owned));
    (fake, groups)
}

/// The one thing that is missing after `change`.
#[track_caller]
fn only(complete: fn() -> (Fake, Groups), change: impl FnOnce(&mut Fake, &mut Groups)) -> Lack {
    let (mut host, mut groups) = complete();
    change(&mut host, &mut groups);
    let lacks = lacking(&host, &groups);
    let [lack] = &lacks[..] else { panic!("{lacks:#?}") };
    assert!(!lack.message.contains('\n') && !lack.remedy.is_empty());
    lack.clone()
}

#[test]
fn a_complete_host_lacks_nothing() {
    for (host, groups) in [complete(), complete_legacy()] {
        assert_eq!(lacking(&host, &groups), []);
    }
}

#[test]
fn each_call_is_named_with_its_kernel() {
    for (name, number, since) in CALLS {
        let take = |host: &mut Fake, _: &mut Groups| host.calls.retain(|call| *call != number);
        let lack = only(complete, take);
        assert_eq!((lack.weight, lack.subject), (Weight::Required, "kernel"));
        assert_eq!(lack.message, format!("the kernel has no {name} (Linux {since}), which containers need"));
        // A kernel that is new enough has it: somebody hides it.
        assert!(lack.remedy.contains("seccomp"), "{}", lack.remedy);
        let old = only(complete, |host, groups| {
            take(host, groups);
            host.release = "5.10.0-1";
        });
        assert_eq!(old.remedy, "use Linux 5.15 or later");
    }
    let old = only(complete, |host, _| host.release = "5.10.0-1");
    assert_eq!(old.weight, Weight::Wanted);
    assert!(old.message.starts_with("Linux 5.10.0-1 is older than 5.15"));
}

#[test]
fn each_namespace_and_file_system_is_named_with_its_option() {
    for (name, feature) in NAMESPACES {
        let lack = only(complete, |host, _| drop(host.files.remove(&format!("/proc/self/ns/{name}"))));
        assert_eq!(lack.weight, Weight::Required);
        assert!(lack.message.contains(name) && lack.message.contains(feature.option), "{lack}");
        assert_eq!(lack.remedy, format!("use a kernel that was built with {}", feature.option));
        let file = format!("/proc/sys/user/max_{name}_namespaces");
        let lack = only(complete, |host, _| drop(host.files.insert(file, "0".to_owned())));
        assert_eq!(lack.remedy, format!("allow them with: sysctl -w user.max_{name}_namespaces=10000"));
    }
    for (name, feature) in FILE_SYSTEMS {
        let lack = only(complete, |host, _| host.file_systems.retain(|kind| *kind != name));
        assert_eq!(lack.weight, Weight::Required);
        assert!(lack.message.contains(name) && lack.message.contains(feature.option), "{lack}");
    }
}

#[test]
fn seccomp_and_device_programs_are_named_with_their_options() {
    let lack = only(complete, |host, _| drop(host.files.remove(SECCOMP_ACTIONS)));
    assert!(lack.weight == Weight::Required && lack.message.contains("CONFIG_SECCOMP_FILTER"), "{lack}");
    let lack = only(complete, |host, _| host.device_programs = false);
    assert!(lack.weight == Weight::Required && lack.message.contains("CONFIG_CGROUP_BPF"), "{lack}");
    // Version 1 has a controller for it, and version 2 beside it does where that is missing.
    let (mut host, mut groups) = complete_legacy();
    host.device_programs = false;
    assert_eq!(lacking(&host, &groups), []);
    groups.controllers.retain(|name| name != "devices");
    assert!(lacking(&host, &groups)[0].message.contains("devices could not be restricted"));
    groups.beside = true;
    assert!(lacking(&host, &groups)[0].message.contains("CONFIG_CGROUP_BPF"));
    host.device_programs = true;
    assert_eq!(lacking(&host, &groups), []);
}

#[test]
fn each_controller_is_named_with_the_way_to_have_it() {
    let names =
        CONTROLLERS.iter().map(|(name, old, feature, without)| (*name, *old, feature.option, *without));
    for (name, old, option, without) in names {
        let missing = |groups: &mut Groups| groups.controllers.retain(|known| known != name && known != old);
        let listed = |host: &mut Fake, line: &str| {
            let list = LIST.replace(&format!("{old}\t0\t1\t1"), line);
            assert_ne!(list, LIST);
            host.files.insert(BUILT_CONTROLLERS.to_owned(), list);
        };
        let lack = only(complete, |_, groups| missing(groups));
        assert_eq!((lack.weight, lack.subject), (Weight::Wanted, "cgroup"));
        assert_eq!(lack.message, format!("{without}: there is no controller {name}"));
        assert!(lack.remedy.contains(&format!("Delegate={name}")), "{}", lack.remedy);
        let off = only(complete, |host, groups| {
            missing(groups);
            listed(host, &format!("{old}\t0\t1\t0"));
        });
        assert_eq!(off.remedy, format!("boot with the kernel parameter cgroup_enable={old}"));
        let held = only(complete, |host, groups| {
            missing(groups);
            listed(host, &format!("{old}\t7\t1\t1"));
        });
        assert!(held.remedy.ends_with(&format!("cgroup_no_v1={old}")), "{}", held.remedy);
        let unknown = only(complete, |host, groups| {
            missing(groups);
            listed(host, "");
        });
        assert_eq!(unknown.remedy, format!("use a kernel that was built with {option}"));
        let legacy = only(complete_legacy, |_, groups| missing(groups));
        assert!(legacy.remedy.contains(&format!("mount -t cgroup -o {old} ")), "{}", legacy.remedy);
    }
    let freezer = only(complete_legacy, |_, groups| groups.controllers.retain(|name| name != "freezer"));
    assert_eq!(freezer.message, "containers cannot be paused: there is no controller freezer");
}

#[test]
fn arrangements_of_control_groups_that_do_not_work_are_named() {
    let none = only(complete, |_, groups| groups.tree = None);
    assert!(none.weight == Weight::Required && none.message.contains("no control groups are mounted"));
    let read_only = only(complete, |host, _| host.read_only = true);
    assert!(read_only.message.contains("/sys/fs/cgroup is read-only"), "{read_only}");
    assert!(read_only.remedy.contains("ProtectControlGroups=") && read_only.remedy.contains("--privileged"));
    let threaded = only(complete, |host, _| {
        host.files.insert(format!("{CGROUP_ROOT}/cgroup.type"), "domain threaded".to_owned());
    });
    assert!(threaded.weight == Weight::Required && threaded.message.contains("domain threaded"));
    let one = only(complete_legacy, |_, groups| {
        (groups.tree, groups.controllers) = (Some(CGROUP_ROOT.into()), vec!["devices".to_owned()]);
    });
    assert!(one.weight == Weight::Wanted && one.message.contains("one tree"), "{one}");
}

#[test]
fn apparmor_is_named_and_nothing_that_is_a_must() {
    let off = only(complete, |host, _| drop(host.files.insert(APPARMOR.to_owned(), "N".to_owned())));
    assert_eq!((off.weight, off.subject), (Weight::Optional, "apparmor"));
    assert!(off.remedy.contains("apparmor=1"), "{}", off.remedy);
    let absent = only(complete, |host, _| drop(host.files.remove(APPARMOR)));
    assert!(absent.remedy.contains("CONFIG_SECURITY_APPARMOR"), "{}", absent.remedy);
    let other = only(complete, |host, _| {
        host.files.remove(APPARMOR);
        host.files.insert(SELINUX.to_owned(), "1".to_owned());
    });
    assert!(other.remedy.contains("SELinux"), "{}", other.remedy);
}

#[test]
fn a_module_is_loaded_where_modules_can_be() {
    let remedy = |change: fn(&mut Fake)| {
        let (mut host, _) = complete();
        change(&mut host);
        VETH.remedy_on(&host)
    };
    assert_eq!(
        remedy(|_| ()),
        "load it with: modprobe veth; or use a kernel that was built with CONFIG_VETH"
    );
    let without = remedy(|host| drop(host.files.remove("/proc/modules")));
    assert_eq!(without, "use a kernel that was built with CONFIG_VETH");
    let gone = remedy(|host| drop(host.files.remove("/lib/modules/6.1.0")));
    assert!(gone.contains("/lib/modules/6.1.0") && gone.contains("reboot"), "{gone}");
    let closed = remedy(|host| {
        host.files.insert("/proc/sys/kernel/modules_disabled".to_owned(), "1".to_owned());
    });
    assert!(closed.contains("/etc/modules-load.d"), "{closed}");
}

#[test]
fn what_the_kernel_refuses_of_the_table_tells_the_option() {
    let options = |what: &str| of_rules(what).iter().map(|feature| feature.option).collect::<Vec<_>>();
    assert_eq!(options("netfilter"), ["CONFIG_NF_TABLES"]);
    assert_eq!(options("the set subnets4"), ["CONFIG_NF_TABLES"]);
    assert_eq!(options("the table inet mydocker"), ["CONFIG_NF_TABLES_INET"]);
    assert_eq!(options("the chain postrouting"), ["CONFIG_NFT_NAT"]);
    assert_eq!(
        options(
            "the rule \"ct status dnat ip saddr @subnets4 oifname @bridges masquerade\" of the chain nat"
        ),
        ["CONFIG_NFT_MASQ", "CONFIG_NFT_CT"]
    );
    assert_eq!(
        options(
            "the rule \"dnat ip to ip daddr . meta l4proto . th dport map @published4\" of the chain publish"
        ),
        ["CONFIG_NFT_NAT"]
    );
    assert_eq!(
        options("the rule \"fib daddr type local goto publish\" of the chain nat"),
        ["CONFIG_NFT_FIB_INET"]
    );
    assert!(TABLE_PARTS.iter().all(|(_, feature)| feature.module.is_some()));
}

#[test]
fn this_kernel_has_the_calls_and_a_call_that_nobody_has_is_seen() {
    assert_eq!(missing_calls(), Vec::<String>::new());
    for (name, number, _) in CALLS {
        assert!(ThisHost.has_call(number), "{name}");
    }
    assert!(!ThisHost.has_call(100_000));
    assert!(ThisHost.has_file_system("proc") && !ThisHost.has_file_system("no-such-kind"));
}

#[test]
fn versions_are_compared_by_their_numbers() {
    for (text, numbers) in [("5.15", (5, 15)), ("6.1.0-50-amd64", (6, 1)), ("5.4-rc1", (5, 4))] {
        assert_eq!(version(text), Some(numbers), "{text}");
    }
    assert_eq!(version("unknown"), None);
    assert!(version("5.9.1") < version("5.15") && version("6.0") > version("5.15"));
}
