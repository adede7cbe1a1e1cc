"""The services around nvae_core: API, scheduler, worker, and the stack for one machine."""
