"""Who counts as one client."""

import ipaddress


def client_of(address: str) -> str:
    """Return what stands for a client: its address, or the network of an IPv6 address, of which one client has all."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if found.version == 6 else address
