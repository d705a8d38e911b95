//! Which addresses may be asked: public ones, unless the configuration allows a host. The check runs on the URL, on
//! what the name resolves to, and again at every redirect; the connection goes to the very addresses that were checked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::{Host, Url};

use crate::error::FetchError;

/// IPv4 networks that are not public: IANA special-purpose registry, multicast, reserved.
const IPV4_NOT_PUBLIC: [(Ipv4Net, &str); 16] = [
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// IPv6 networks that are not public although they lie in `2000::/3`, and names for those outside.
const IPV6_NOT_PUBLIC: [(Ipv6Net, &str); 14] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "IPv4-mapped"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "NAT64"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "NAT64"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "benchmarking"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "protocol assignments"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
];

/// All global unicast addresses that IANA has given out.
const IPV6_GLOBAL: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(parts: [u16; 8], bits: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = parts;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), bits)
}

/// Says why `address` is not a public one; `None` if it is.
///
/// IPv6 addresses that carry an IPv4 address (mapped, 6to4, NAT64, Teredo) are never public, whatever they carry: a
/// network that needs NAT64 allows `64:ff9b::/96` in `fetch.allow_hosts`.
pub fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            IPV4_NOT_PUBLIC.iter().find(|(net, _)| net.contains(&address)).map(|(_, reason)| *reason)
        }
        IpAddr::V6(address) => {
            let named = IPV6_NOT_PUBLIC.iter().find(|(net, _)| net.contains(&address)).map(|(_, reason)| *reason);
            named.or((!IPV6_GLOBAL.contains(&address)).then_some("not global unicast"))
        }
    }
}

/// Hosts and networks that may be asked although their addresses are not public.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowHosts {
    names: Vec<String>,
    nets: Vec<IpNet>,
}

impl AllowHosts {
    /// Reads host names, addresses and networks (`10.0.0.0/8`).
    ///
    /// # Errors
    /// [`FetchError::Config`] for an entry that is none of these.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, FetchError> {
        let mut allowed = Self::default();
        for entry in entries {
            let bare = entry.trim_start_matches('[').trim_end_matches(']');
            if let Ok(address) = bare.parse::<IpAddr>() {
                allowed.nets.push(IpNet::from(address));
            } else if let Ok(net) = bare.parse::<IpNet>() {
                allowed.nets.push(net.trunc());
            } else if is_host_name(entry) {
                allowed.names.push(entry.trim_end_matches('.').to_ascii_lowercase());
            } else {
                return Err(FetchError::Config {
                    key: "fetch.allow_hosts".to_owned(),
                    reason: format!("`{entry}` is neither a host name nor a network"),
                });
            }
        }
        Ok(allowed)
    }

    /// Says whether this name may resolve to any address.
    pub fn has_name(&self, name: &str) -> bool {
        let bare = name.trim_end_matches('.').to_ascii_lowercase();
        self.names.contains(&bare)
    }

    /// Says whether this address was allowed.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.nets.iter().any(|net| net.contains(&address))
    }
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

impl fmt::Display for AllowHosts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nets = self.nets.iter().map(ToString::to_string);
        formatter.write_str(&self.names.iter().cloned().chain(nets).collect::<Vec<_>>().join(", "))
    }
}

impl Serialize for AllowHosts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names.iter().cloned().chain(self.nets.iter().map(ToString::to_string)))
    }
}

impl<'de> Deserialize<'de> for AllowHosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<String>::deserialize(deserializer)?;
        Self::parse(entries.iter().map(String::as_str)).map_err(|error| match error {
            FetchError::Config { reason, .. } => serde::de::Error::custom(reason),
            other => serde::de::Error::custom(other),
        })
    }
}

/// The rule that URLs and addresses must keep.
#[derive(Debug, Clone)]
pub struct AddressRule {
    allowed: AllowHosts,
    ports: Vec<u16>,
    proxy: Option<Host<String>>,
}

impl AddressRule {
    /// Makes the rule. The proxy itself is connected to although its address may be private; it is configuration.
    pub fn new(allowed: AllowHosts, ports: Vec<u16>, proxy: Option<Host<String>>) -> Self {
        Self { allowed, ports, proxy }
    }

    /// Checks scheme, user name, port and a literal address. Names are checked when they are resolved.
    ///
    /// # Errors
    /// The rule that `url` breaks.
    pub fn check_url(&self, url: &Url) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("scheme `{}`; only http and https are asked", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a user name or password in the URL".to_owned());
        }
        let host = url.host().ok_or("it has no host")?;
        let listed = match &host {
            Host::Domain(name) => self.allowed.has_name(name),
            Host::Ipv4(address) => self.check_address(IpAddr::V4(*address))?,
            Host::Ipv6(address) => self.check_address(IpAddr::V6(*address))?,
        };
        // A name that resolves into an allowed network may use any port as well, but that is known only later: such
        // hosts are listed by name.
        let port = url.port_or_known_default().unwrap_or(0);
        if !listed && !self.ports.contains(&port) {
            return Err(format!("port {port}; `fetch.allow_ports` has {:?}", self.ports));
        }
        if self.proxy.as_ref().is_some_and(|proxy| *proxy == host.to_owned()) && !listed {
            return Err("it is the proxy itself".to_owned());
        }
        Ok(())
    }

    /// Checks one address; true means that it is listed in `fetch.allow_hosts`.
    fn check_address(&self, address: IpAddr) -> Result<bool, String> {
        if self.allowed.has_address(address) {
            return Ok(true);
        }
        match not_public(address) {
            Some(reason) => Err(format!("{address} is not a public address ({reason})")),
            None => Ok(false),
        }
    }

    /// Checks everything that a name resolved to. One address that is not public refuses the name as a whole: an
    /// honest public host has none.
    ///
    /// # Errors
    /// The rule that an address breaks.
    pub fn check_resolved(&self, name: &str, addresses: &[SocketAddr]) -> Result<(), String> {
        let is_proxy = matches!(&self.proxy, Some(Host::Domain(proxy)) if proxy.eq_ignore_ascii_case(name));
        if self.allowed.has_name(name) || is_proxy {
            return Ok(());
        }
        for address in addresses {
            self.check_address(address.ip())?;
        }
        Ok(())
    }
}

/// A name whose addresses must not be asked; found again in the error of the HTTP client.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` resolves to a forbidden address: {reason}")]
pub(crate) struct ForbiddenName {
    name: String,
    pub(crate) reason: String,
}

/// Resolves names and returns their addresses only if all of them may be asked.
#[derive(Debug, Clone)]
pub(crate) struct CheckedResolver {
    rule: Arc<AddressRule>,
    limit: Duration,
}

/// Addresses of one name that are looked at; more are refused.
const ADDRESSES_MAX: usize = 64;

impl CheckedResolver {
    pub(crate) fn new(rule: Arc<AddressRule>, limit: Duration) -> Self {
        Self { rule, limit }
    }

    async fn lookup(self, name: String) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let lookup = tokio::net::lookup_host((name.as_str(), 0));
        let found = tokio::time::timeout(self.limit, lookup)
            .await
            .map_err(|_| format!("name lookup of `{name}` took longer than {:?}", self.limit))??;
        let addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX + 1).collect();
        if addresses.len() > ADDRESSES_MAX {
            let reason = format!("more than {ADDRESSES_MAX} addresses");
            return Err(Box::new(ForbiddenName { name, reason }));
        }
        match self.rule.check_resolved(&name, &addresses) {
            Ok(()) => Ok(addresses),
            Err(reason) => Err(Box::new(ForbiddenName { name, reason })),
        }
    }
}

impl reqwest::dns::Resolve for CheckedResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.clone();
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let addresses = resolver.lookup(name).await?;
            let iterator: reqwest::dns::Addrs = Box::new(addresses.into_iter());
            Ok(iterator)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(allowed: &[&str]) -> AddressRule {
        AddressRule::new(AllowHosts::parse(allowed.iter().copied()).unwrap(), vec![80, 443], None)
    }

    fn check(allowed: &[&str], url: &str, expected: &str) {
        let outcome = rule(allowed).check_url(&Url::parse(url).unwrap());
        let text = outcome.map_or_else(|reason| reason, |()| "ok".to_owned());
        assert!(text.starts_with(expected), "{url}: {text}");
    }

    #[test]
    fn urls_are_checked_before_anything_is_sent() {
        check(&[], "https://example.org/x", "ok");
        check(&[], "https://8.8.8.8/", "ok");
        check(&[], "http://127.0.0.1/", "127.0.0.1 is not a public address (loopback)");
        check(&[], "http://127.1/", "127.0.0.1 is not");
        check(&[], "http://2130706433/", "127.0.0.1 is not");
        check(&[], "http://0x7f.0.0.1/", "127.0.0.1 is not");
        check(&[], "http://0177.0.0.1/", "127.0.0.1 is not");
        check(&[], "http://127.0.0.1./", "127.0.0.1 is not");
        check(&[], "http://１２７.０.０.１/", "127.0.0.1 is not");
        check(&[], "http://[::1]/", "::1 is not a public address (loopback)");
        check(&[], "http://[::ffff:169.254.169.254]/", "::ffff:169.254.169.254 is not a public address (IPv4-mapped)");
        check(&[], "http://[2002:a9fe:a9fe::1]/", "2002:a9fe:a9fe::1 is not a public address (6to4)");
        check(&[], "http://[64:ff9b::a9fe:a9fe]/", "64:ff9b::a9fe:a9fe is not a public address (NAT64)");
        check(&[], "http://[::127.0.0.1]/", "::7f00:1 is not a public address (not global unicast)");
        check(&[], "http://[fd00::1]/", "fd00::1 is not a public address (private)");
        check(&[], "https://[2606:4700::1111]/", "ok");
        check(&[], "http://user@8.8.8.8/", "a user name or password");
        check(&[], "ftp://example.org/", "scheme `ftp`");
        check(&[], "file:///etc/passwd", "scheme `file`");
        check(&[], "http://example.org:6379/", "port 6379");
        check(&["example.org"], "http://EXAMPLE.org:6379/", "ok");
        check(&["127.0.0.1"], "http://127.0.0.1:8080/", "ok");
        check(&["10.0.0.0/8"], "http://10.2.3.4:8080/", "ok");
        check(&["10.0.0.0/8"], "http://11.2.3.4:8080/", "port 8080");
    }

    #[test]
    fn one_private_address_refuses_the_name() {
        let public: SocketAddr = "8.8.8.8:0".parse().unwrap();
        let private: SocketAddr = "10.0.0.1:0".parse().unwrap();
        assert!(rule(&[]).check_resolved("x.org", &[public]).is_ok());
        assert!(rule(&[]).check_resolved("x.org", &[public, private]).is_err());
        assert!(rule(&["x.org"]).check_resolved("X.org.", &[private]).is_ok());
        assert!(rule(&["10.0.0.0/24"]).check_resolved("x.org", &[private]).is_ok());
    }

    #[test]
    fn the_proxy_is_reached_but_is_no_target() {
        let proxy = Some(Host::Domain("proxy.lan".to_owned()));
        let rule = AddressRule::new(AllowHosts::default(), vec![80], proxy);
        assert!(rule.check_resolved("proxy.lan", &["10.0.0.1:0".parse().unwrap()]).is_ok());
        assert!(rule.check_url(&Url::parse("http://proxy.lan/").unwrap()).is_err());
    }

    /// What the standard library calls special, plus the networks it has no stable word for.
    fn special_by_std(address: Ipv4Addr) -> bool {
        let [a, b, c, _] = address.octets();
        address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_broadcast()
            || address.is_documentation()
            || address.is_multicast()
            || a == 0
            || a >= 240
            || (a == 100 && (64..128).contains(&b))
            || (a == 198 && (b == 18 || b == 19))
            || (a == 192 && b == 0 && c == 0)
            || (a == 192 && b == 88 && c == 99)
    }

    /// Spellings of one address that URLs accept.
    fn spellings(address: Ipv4Addr) -> Vec<String> {
        let [a, b, c, d] = address.octets();
        let number = u32::from(address);
        let low = number & 0x00ff_ffff;
        let mapped = address.to_ipv6_mapped();
        let (high, rest) = (number >> 16, number & 0xffff);
        vec![
            format!("{a}.{b}.{c}.{d}"),
            format!("{a}.{b}.{c}.{d}."),
            format!("{number}"),
            format!("0x{number:x}"),
            format!("0{number:o}"),
            format!("{a}.{low}"),
            format!("0x{a:x}.0{b:o}.{c}.0x{d:x}"),
            format!("%3{}{}", a.to_string().as_bytes()[0] - b'0', &format!("{a}.{b}.{c}.{d}")[1..]),
            format!("[{mapped}]"),
            format!("[2002:{high:x}:{rest:x}::1]"),
            format!("[64:ff9b::{high:x}:{rest:x}]"),
            format!("[::{high:x}:{rest:x}]"),
            format!("[2001:0:{high:x}:{rest:x}::]"),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn classifier_agrees_with_the_standard_library(number: u32) {
            let address = Ipv4Addr::from(number);
            prop_assert_eq!(not_public(IpAddr::V4(address)).is_some(), special_by_std(address));
        }

        #[test]
        fn no_spelling_of_a_special_address_passes(index in 0..IPV4_NOT_PUBLIC.len(), host: u32) {
            let net = IPV4_NOT_PUBLIC[index].0;
            let inside = u32::from(net.network()) | (host & u32::from(net.hostmask()));
            for spelling in spellings(Ipv4Addr::from(inside)) {
                if let Ok(url) = Url::parse(&format!("http://{spelling}/")) {
                    prop_assert!(rule(&[]).check_url(&url).is_err(), "{}", spelling);
                }
            }
        }

        #[test]
        fn ipv6_outside_global_unicast_is_refused(number: u128) {
            let address = Ipv6Addr::from(number);
            if !(0x2000..0x4000).contains(&address.segments()[0]) {
                prop_assert!(not_public(IpAddr::V6(address)).is_some());
            }
        }
    }
}
