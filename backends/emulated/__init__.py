"""The emulated machine: a CPU that runs real x86-64 ELF programs under a model of Linux's hw-breakpoint layer."""
