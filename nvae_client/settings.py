"""Where the service is, and the key it asks for: arguments first, then the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

URL_VARIABLE = "NVAE_API_URL"
KEY_VARIABLE = "NVAE_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Address:
    """The service's URL, and the key to show it, if there is one."""

    url: str
    api_key: str | None

    @classmethod
    def choose(
        cls, url: str | None, api_key: str | None, environment: Mapping[str, str] = os.environ
    ) -> Self:
        """Return what was given, or else what the environment says.

        Raises:
            ValueError: the URL or the key cannot be one.
        """
        url = (url or environment.get(URL_VARIABLE) or DEFAULT_URL).strip().rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"the service's URL must begin with http:// or https://, not {url!r}")
        api_key = (api_key or environment.get(KEY_VARIABLE) or "").strip()
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("the API key has characters that no key has; copy it again")
        return cls(url, api_key or None)

    def headers(self) -> dict[str, str]:
        """Return what each request carries."""
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
