"""Python's clock, wrong by NVAE_CLOCK_OFFSET seconds, from the first import on."""

import datetime as module
import os
import time

OFFSET_SECONDS = float(os.environ.get("NVAE_CLOCK_OFFSET", "0"))
_time, _datetime = time.time, module.datetime


class WrongDatetime(_datetime):
    @classmethod
    def now(cls, tz=None):
        return _datetime.now(tz) + module.timedelta(seconds=OFFSET_SECONDS)

    @classmethod
    def utcnow(cls):
        return _datetime.now(module.UTC).replace(tzinfo=None) + module.timedelta(
            seconds=OFFSET_SECONDS
        )


if OFFSET_SECONDS:
    time.time = lambda: _time() + OFFSET_SECONDS
    module.datetime = WrongDatetime
