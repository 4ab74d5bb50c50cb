"""Every resource that the register offers; to mount a new one, add its line."""

from rollbook.register import contacts, sites
from rollbook.register.resource import Resource

RESOURCES: dict[str, Resource] = {
    resource.type.name: resource
    for resource in (
        contacts.RESOURCE,
        sites.RESOURCE,
    )
}
