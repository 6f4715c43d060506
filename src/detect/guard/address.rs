//! What guards know of the module `ipaddress`: which texts are addresses, and what addresses say about themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::exception::Exception;
use super::value::{Ask, Raises, Result, V};
use crate::detect::declared::address as special;

/// None when it is some address of an imagined event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(Option<IpAddr>);

/// Which of its functions makes the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Either,
    V4,
    V6,
    /// A network, of which only those of one address of version 4 are known: they say of themselves what the address says.
    Network,
}

/// What is asked of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Property {
    IsGlobal,
    IsPrivate,
    Version,
}

impl Made {
    pub(super) fn named(name: &str) -> Option<Made> {
        match name {
            "ip_address" => Some(Made::Either),
            "IPv4Address" => Some(Made::V4),
            "IPv6Address" => Some(Made::V6),
            "ip_network" => Some(Made::Network),
            _ => None,
        }
    }

    /// What the function raises for what is no address.
    pub(super) fn refusal(self) -> Exception {
        match self {
            Made::Either | Made::Network => Exception::ValueError,
            Made::V4 | Made::V6 => Exception::AddressValueError,
        }
    }

    /// Of a number, Python knows what address is meant.
    pub(super) fn address<'e>(self, of: &V<'e>) -> Result<V<'e>> {
        let text = match of {
            // It is made a text, which is none of an address.
            V::None | V::Float(_) | V::Json { .. } => return Err(Raises(self.refusal())),
            of => of.text().ok_or(Ask)?,
        };
        // What stands behind it is a scope, which may be nearly anything.
        if text.contains('%') {
            return Err(Ask);
        }
        let address = match self {
            Made::Either => text.parse().ok(),
            Made::V4 => text.parse().ok().map(|address: Ipv4Addr| address.into()),
            Made::V6 => text.parse().ok().map(|address: Ipv6Addr| address.into()),
            Made::Network => {
                let text = text.strip_suffix("/32").unwrap_or(text);
                if text.contains([':', '/']) {
                    return Err(Ask);
                }
                text.parse().ok().map(|address: Ipv4Addr| address.into())
            }
        };
        address.map(|address| V::Address(Address(Some(address)))).ok_or(Raises(self.refusal()))
    }
}

impl Property {
    pub(super) fn named(name: &str) -> Option<Property> {
        match name {
            "is_global" => Some(Property::IsGlobal),
            "is_private" => Some(Property::IsPrivate),
            "version" => Some(Property::Version),
            _ => None,
        }
    }
}

impl Address {
    pub(super) const SOME: Address = Address(None);

    pub(super) fn property<'e>(self, property: Property) -> V<'e> {
        let Some(address) = self.0 else {
            return if property == Property::Version { V::Any } else { V::AnyBool };
        };
        match property {
            Property::IsGlobal => V::Bool(special::is_public(address)),
            Property::IsPrivate => V::Bool(special::is_private(address)),
            Property::Version => V::Int(if address.is_ipv4() { 4 } else { 6 }),
        }
    }
}
