"""Which network addresses are public, in whatever spelling they come."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

#: IPv6 that stands for an IPv4 address behind a translator (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")
#: The middle of an ISATAP interface's id (RFC 5214): the IPv4 address behind it is the last 32 bits.
_ISATAP = (0x00005EFE, 0x02005EFE)
#: Special by the registries of IANA or by what they once were, and not so to every Python that we run on.
_SPECIAL = (
    IPv6Network("fec0::/10"),  # site-local, given up
    IPv6Network("64:ff9b:1::/48"),  # translators of one's own network
    IPv6Network("3fff::/20"),  # documentation
    IPv6Network("5f00::/16"),  # segment routing
    IPv6Network("100::/64"),  # discarded
    IPv4Network("192.88.99.0/24"),  # relays of 6to4, given up
    IPv4Network("192.0.0.0/24"),
)


def unwrapped(address: Address) -> Address:
    """The IPv4 address that hides in an IPv6 one: mapped, 6to4, Teredo, NAT64. Any other as it is."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def is_public(address: Address) -> bool:
    """Reachable for everybody: no loopback, private, link-local, shared, reserved or multicast address."""
    inner = unwrapped(address)
    if any(one.version == net.version and one in net for one in (address, inner) for net in _SPECIAL):
        return False
    return inner.is_global and not inner.is_multicast and not inner.is_reserved
