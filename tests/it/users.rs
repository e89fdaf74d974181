//! Who a command runs as, where the image's own files of users are made to mislead.

use crate::archives::import;
use crate::host::Host;

/// Users and groups whose names are numbers, and whose numbers are none. A number that were looked up as a name would
/// be root here, and so would a number that the kernel takes for "leave it as it is".
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/root:/bin/sh\n0:x:7:7::/:/bin/sh\n\
    home:x:2000:2001::/home/tester:/bin/sh\nleave:x:4294967295:4294967295::/:/bin/sh\nplus:x:+0:+0::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\n1000:x:0:\n0:x:7:\nstaff:x:50:home\nleave:x:4294967295:\n";

/// Says user, group, all groups and home.
const WHO: [&str; 3] = ["sh", "-c", "echo $(id -u) $(id -g) $(busybox id -G) $HOME"];

#[test]
fn a_number_is_an_id_and_never_a_name() {
    let host = Host::new();
    let etc = std::path::Path::new(&host.image).join("etc");
    std::fs::write(etc.join("passwd"), PASSWD).unwrap();
    std::fs::write(etc.join("group"), GROUP).unwrap();
    host.mydocker(&["run", "-d", "--name", "c", "--net", "none", &host.image, "sleep", "100000"]).ok();
    for (options, expected) in [
        (&["-u", "1000"][..], "1000 0 0 /"),
        (&["-u", "0"], "0 0 0 /root"),
        (&["-u", "1000:1000"], "1000 1000 1000 /"),
        (&["-u", "root:1000"], "0 1000 1000 /root"),
        (&["-u", "home:0"], "2000 0 0 /home/tester"),
        // The line of the number tells home and groups.
        (&["-u", "2000"], "2000 2001 2001 50 /home/tester"),
        (&["-u", "home"], "2000 2001 2001 50 /home/tester"),
    ] {
        let output = host.run(&[&["--net", "none"], options].concat(), &WHO);
        assert_eq!(output.ok(), expected, "run {options:?}");
        let output = host.mydocker(&[&["exec"], options, &["c"], &WHO].concat());
        assert_eq!(output.ok(), expected, "exec {options:?}");
        // An image's own user is no other.
        import(&host, "own", &["-c", &format!("USER {}", options[1])], &[]);
        let output = host.mydocker(&[&["run", "--rm", "--net", "none", "own"], &WHO[..]].concat());
        assert_eq!(output.ok(), expected, "USER {options:?}");
    }
    let more = ["--net", "none", "-u", "1000", "--group-add", "1000", "--group-add", "50"];
    assert_eq!(host.run(&more, &WHO).ok(), "1000 0 0 50 1000 /");
    for options in [
        &["-u", "leave"][..],
        &["-u", "plus"],
        &["-u", "4294967295"],
        &["-u", "2147483648"],
        &["-u", "home:leave"],
        &["--group-add", "leave"],
        &["--group-add", "4294967295"],
    ] {
        host.run(&[&["--net", "none"], options].concat(), &WHO).refused(&[125], &[]);
        if options[0] == "-u" {
            let output = host.mydocker(&[&["exec"], options, &["c"], &WHO].concat());
            assert!(!output.status.success(), "{output}");
        }
    }
    host.mydocker(&["rm", "-f", "c"]).ok();
    host.mydocker(&["image", "prune", "-a", "-f"]).ok();
    host.assert_nothing_left();
}
