//! Where connections come from, as coarsely as it may be remembered.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The network of an address as it may be written down and counted: the first 24 bits of IPv4, the first 48 of IPv6 (R79). IPv4 in IPv6
/// clothes is IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// `a.b.c.0/24`
    V4([u8; 3]),
    /// `a:b:c::/48`
    V6([u16; 3]),
}

impl Network {
    /// The network that an address is in.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                Self::V6([a, b, c])
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4([a, b, c]) => write!(f, "{a}.{b}.{c}.0/24"),
            Self::V6([a, b, c]) => write!(f, "{a:x}:{b:x}:{c:x}::/48"),
        }
    }
}

/// A range of addresses, as operators write it: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    first: u128,
    bits: u32,
}

/// An address on one scale for both families: IPv4 at its mapped place in IPv6 (RFC 4291 §2.5.5.2).
fn place(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Range {
    /// Whether an address lies in the range.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.bits == 0 || (place(address) ^ self.first) >> (128 - self.bits) == 0
    }
}

impl FromStr for Range {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "must be an address or a range of addresses, such as 10.0.0.0/8";
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| WHY)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(width), |bits| bits.parse().ok().filter(|bits| *bits <= width).ok_or(WHY))?;
        Ok(Self { first: place(address), bits: 128 - width + bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_cut_before_they_are_written() {
        for (full, cut) in
            [("192.168.10.17", "192.168.10.0/24"), ("::ffff:10.1.2.3", "10.1.2.0/24"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48")]
        {
            assert_eq!(Network::of(address(full)).to_string(), cut);
        }
    }

    #[test]
    fn a_range_holds_what_it_says() {
        let holds = |range: &str, full: &str| range.parse::<Range>().unwrap().holds(address(full));
        assert!(holds("10.0.0.0/8", "10.255.1.2") && holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!holds("10.0.0.0/8", "11.0.0.0") && !holds("10.0.0.0/8", "a00::1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("fc00::/7", "fd12::1") && !holds("fc00::/7", "fe80::1"));
        assert!(holds("::/0", "192.0.2.1") && holds("0.0.0.0/0", "192.0.2.1") && !holds("0.0.0.0/0", "2001:db8::1"));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "::/129", "host"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }
}
