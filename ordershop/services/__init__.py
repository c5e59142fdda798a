"""One file a service; each runs as an operating-system process of its own: `python -m ordershop.services.crm`."""
