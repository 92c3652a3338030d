"""Small BPF programs without a compiler or libbpf: an assembler, and the bpf() system call.

It knows instructions, maps and programs; what they are for is their user's affair (`backends.perf`,
`backends.kernelview`).
"""
