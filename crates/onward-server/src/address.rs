//! Which addresses are everyone's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is on a network that is not everyone's: private, loopback, link-local, shared, or reserved
/// (the registries of IANA for special purposes).
///
/// ```
/// use onward_server::address::is_private;
///
/// assert!(is_private([127, 0, 0, 1].into()) && is_private([169, 254, 169, 254].into()));
/// assert!(!is_private([1, 1, 1, 1].into()));
/// ```
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => is_private_v4(address),
            None => is_private_v6(address),
        },
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (18..20).contains(&b))
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let embeds_v4 = (first == 0x64 && second == 0xff9b) || first == 0x2002;
    // Only what is handed out to everyone is public.
    let is_documentation = first == 0x3fff && second < 0x1000;
    first & 0xe000 != 0x2000
        || embeds_v4
        || is_documentation
        || (first == 0x2001 && (second == 0xdb8 || second < 0x200))
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn addresses_that_are_not_everyones_are_private() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "198.18.0.1",
            "192.88.99.1",
            "3fff::1",
            "3fff:fff::1",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in
            ["1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "3ffe::1"]
        {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }
}
