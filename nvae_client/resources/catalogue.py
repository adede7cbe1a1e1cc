"""Presets, and the keys that open the service."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import TypeAdapter

from nvae_client.answers import ApiKey, Preset
from nvae_client.transport import Transport, part, read

_PRESETS = TypeAdapter(tuple[Preset, ...])
_KEYS = TypeAdapter(tuple[ApiKey, ...])


class Presets:
    """The named configurations."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Sequence[Preset]:
        """Return them all."""
        return read(_PRESETS, self._transport.get("/v1/presets"))


class Keys:
    """API keys; asking for them takes one with the scope `admin`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[str],
        project: str | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> ApiKey:
        """Create a key; the answer is the only one that has the key itself."""
        given = {"project": project, "expires_at": expires_at.isoformat() if expires_at else None}
        body = {"name": name, "scopes": [*scopes]}
        body |= {field: value for field, value in given.items() if value is not None}
        answer = self._transport.post("/v1/api-keys", body, idempotency_key=idempotency_key)
        return read(ApiKey, answer)

    def revoke(self, key_id: str) -> ApiKey:
        """Make a key useless from now on."""
        return read(ApiKey, self._transport.change("DELETE", f"/v1/api-keys/{part(key_id)}"))

    def list(self) -> Sequence[ApiKey]:
        """Return the keys, without what opens anything."""
        return read(_KEYS, self._transport.get("/v1/api-keys"))
