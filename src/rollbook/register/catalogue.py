"""Every resource that the register offers; to mount a new one, add its line."""

from rollbook.register import audit, contacts, custom_fields, notes, sites, tags
from rollbook.register.resource import Resource

RESOURCES: dict[str, Resource] = {
    resource.type.name: resource
    for resource in (
        contacts.RESOURCE,
        tags.RESOURCE,
        notes.RESOURCE,
        custom_fields.RESOURCE,
        sites.RESOURCE,
        audit.RESOURCE,
    )
}
