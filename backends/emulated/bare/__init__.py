"""Programs at privilege level 0 without an operating system: they own the debug registers and take #DB themselves."""
