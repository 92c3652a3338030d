"""A running kernel's own books: who holds each debug register, read from the kernel's memory.

It knows addresses and structures (through BTF), and takes any `Memory`. It makes no perf events and no ptrace calls.
"""
