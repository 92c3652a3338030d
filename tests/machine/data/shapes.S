# One access of each shape to the watched block, then exit. The block is 64 bytes, aligned to 64, and straddles nothing;
# `edge` is 16 bytes around a page boundary.
        .intel_syntax noprefix
        .globl _start, block, edge, other, spot, image
        .bss
        .balign 64
other:  .skip 256
block:  .skip 64
image:  .skip 512
        .balign 4096
        .skip 4088
edge:   .skip 16
        .skip 4080
        .text
_start:
        lea rbx, block[rip]
        lea rsi, other[rip]
        xor eax, eax
        # plain stores and loads of each size
        mov byte ptr [rbx], 1
        mov word ptr [rbx], 2
        mov dword ptr [rbx], 3
        mov qword ptr [rbx], 4
        mov al, [rbx]
        mov ax, [rbx]
        mov eax, [rbx]
        mov rax, [rbx]
        # from below and from above, unaligned
        mov qword ptr [rbx-4], rax
        mov qword ptr [rbx+4], rax
        mov dword ptr [rbx+7], eax
        mov qword ptr [rbx+1], rax
        # neighbours that must not hit
        mov qword ptr [rbx-8], rax
        mov byte ptr [rbx-1], al
        # read-modify-write
        add qword ptr [rbx], 5
        inc dword ptr [rbx]
        not byte ptr [rbx]
        adc qword ptr [rbx], rax
        sbb dword ptr [rbx], eax
        rcl qword ptr [rbx], 1
        shl dword ptr [rbx], 3
        xchg rax, [rbx]
        xadd [rbx], rax
        lock xadd [rbx], eax
        bts qword ptr [rbx], 3
        mov ecx, 67
        bts qword ptr [rbx-8], rcx
        bt qword ptr [rbx], 3
        mov rcx, -1
        btr qword ptr [rbx+8], rcx
        # compare and exchange: succeeding, then failing
        mov rax, [rbx]
        mov rcx, 77
        lock cmpxchg [rbx], rcx
        mov rax, 12345
        lock cmpxchg [rbx], rcx
        cmpxchg [rbx], ecx
        mov rax, 1
        mov rdx, 2
        lock cmpxchg8b [rbx]
        lock cmpxchg16b [rbx]
        mov rax, [rbx]
        mov rdx, [rbx+8]
        mov rcx, 9
        lock cmpxchg16b [rbx]
        # compare, test: reads only
        cmp [rbx], rax
        test [rbx], rax
        # the stack
        mov rbp, rsp
        lea rsp, [rbx+8]
        push rax
        pop rcx
        push 5
        pop rcx
        lea rsp, [rbx+8]
        call 1f
1:      lea rsp, [rbx]
        pop rcx
        lea rsp, [rbx+8]
        pushfq
        popfq
        lea rsp, [rbx+8]
        push [rsi]
        pop [rsi]
        lea rsp, [rbx+16]
        push [rbx]
        pop [rbx]
        lea rax, 2f[rip]
        mov [rbx], rax
        lea rsp, [rbx]
        ret
2:      mov rax, rsp
        mov rsp, rbp
        lea rax, 3f[rip]
        mov [rbx], rax
        jmp [rbx]
3:      mov qword ptr [rbx+16], rbp
        mov rbp, rbx
        mov r12, rsp
        leave
        mov rsp, r12
        lea rsp, [rbx+32]
        enter 8, 0
        mov rsp, r12
        # strings, one by one
        cld
        mov rdi, rbx
        mov rsi, rbx
        movsb
        movsq
        mov rdi, rbx
        stosb
        stosd
        stosq
        mov rsi, rbx
        lodsb
        lodsq
        mov rdi, rbx
        scasb
        mov rdi, rbx
        mov rsi, rbx
        cmpsb
        # repeated, upwards
        lea rdi, [rbx-3]
        mov ecx, 16
        mov al, 7
        rep stosb
        lea rdi, [rbx-16]
        mov ecx, 5
        rep stosq
        lea rdi, [rbx-3]
        lea rsi, other[rip]
        mov ecx, 14
        rep movsb
        mov rsi, rbx
        lea rdi, other[rip]
        mov ecx, 3
        rep movsq
        mov rsi, rbx
        lea rdi, [rbx+1]
        mov ecx, 9
        rep movsb
        mov ecx, 0
        mov rdi, rbx
        rep stosb
        mov ecx, 1
        mov rdi, rbx
        rep stosb
        mov ecx, 6
        mov rsi, rbx
        rep lodsb
        # comparing ones, ended by the count and by the condition
        mov ecx, 5
        mov rdi, rbx
        mov al, [rbx]
        repe scasb
        mov byte ptr [rbx+2], 99
        mov ecx, 8
        mov rdi, rbx
        repne scasb
        mov al, 99
        mov ecx, 8
        mov rdi, rbx
        repne scasb
        mov ecx, 4
        mov rsi, rbx
        mov rdi, rbx
        repe cmpsb
        # downwards
        std
        lea rdi, [rbx+11]
        mov ecx, 16
        rep stosb
        lea rsi, [rbx+16]
        lea rdi, other[rip+64]
        mov ecx, 4
        rep movsq
        lea rdi, [rbx+8]
        stosq
        cld
        # SSE
        movaps xmm0, [rbx]
        movups [rbx-8], xmm0
        movups [rbx+1], xmm0
        movaps [rbx], xmm0
        movsd qword ptr [rbx], xmm0
        movss dword ptr [rbx+4], xmm0
        movq qword ptr [rbx], xmm0
        movntdq [rbx], xmm0
        addsd xmm0, [rbx]
        paddq xmm0, [rbx]
        movhps [rbx], xmm0
        # the lower halves interleaved: does the operand have 8 bytes or 16?
        punpcklbw xmm0, [rbx]
        punpcklwd xmm0, [rbx]
        punpckldq xmm0, [rbx]
        punpcklqdq xmm0, [rbx]
        unpcklps xmm0, [rbx]
        unpcklpd xmm0, [rbx]
        punpckhbw xmm0, [rbx]
        punpckhdq xmm0, [rbx]
        punpckhqdq xmm0, [rbx]
        unpckhps xmm0, [rbx]
        unpckhpd xmm0, [rbx]
        psrld xmm0, [rbx]
        psllw xmm0, [rbx]
        psllq xmm0, [rbx]
        psrlq xmm0, [rbx]
        psraw xmm0, [rbx]
        pslldq xmm0, 1
        pmuludq xmm0, [rbx]
        pshufd xmm0, [rbx], 0x1b
        pshuflw xmm0, [rbx], 0x1b
        shufps xmm0, [rbx], 0x1b
        shufpd xmm0, [rbx], 1
        cmpps xmm0, [rbx], 1
        cvtpd2ps xmm0, [rbx]
        movlps xmm0, [rbx]
        movhps xmm0, [rbx]
        movd xmm0, [rbx]
        pinsrw xmm0, [rbx], 2
        minps xmm0, [rbx]
        cvtdq2pd xmm0, [rbx]
        cvtps2pd xmm0, [rbx]
        cvttpd2dq xmm0, [rbx]
        # an x87 operand of each size
        fld dword ptr [rbx]
        fadd qword ptr [rbx]
        fstp tbyte ptr [rbx]
        fild qword ptr [rbx]
        fistp word ptr [rbx+6]
        fnstcw word ptr [rbx+2]
        lea rsi, image[rip]
        fxsave [rsi]
        lea rsi, other[rip]
        movnti [rbx], rax
        # x87 that keeps to doubles
        mov qword ptr [rbx], 1234567
        fild qword ptr [rbx]
        fistp qword ptr [rbx]
        fld qword ptr [rbx]
        fstp qword ptr [rbx]
        fnstcw [rbx]
        fldcw [rbx]
        # no access at all
        lea rax, [rbx]
        prefetcht0 [rbx]
        clflush [rbx]
        nop dword ptr [rbx]
        # across a page boundary
        lea rdi, edge[rip]
        mov qword ptr [rdi+4], rax
        mov rax, [rdi+5]
        add qword ptr [rdi+6], 1
        movups [rdi], xmm0
        mov word ptr [rdi+7], ax
        # an execute slot, also in a loop, and a watched access by the instruction under it
        mov ecx, 3
spot:   mov [rbx], rcx
        dec ecx
        jnz spot
        sete byte ptr [rbx]
        cmovz rax, [rbx]
        cmovnz rax, [rbx]
        xlatb
        mov eax, 60
        xor edi, edi
        syscall
