"""Which network addresses are public, in whatever spelling they come."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

#: IPv6 that stands for an IPv4 address behind a translator (RFC 6052).
_NAT64 = IPv6Network("64:ff9b::/96")


def unwrapped(address: Address) -> Address:
    """The IPv4 address that hides in an IPv6 one: mapped, 6to4, Teredo, NAT64. Any other as it is."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or teredo or address


def is_public(address: Address) -> bool:
    """Reachable for everybody: no loopback, private, link-local, shared, reserved or multicast address."""
    inner = unwrapped(address)
    return inner.is_global and not inner.is_multicast and not inner.is_reserved
