"""The whole service on one machine: real servers from wheels, our services, their supervisor."""
