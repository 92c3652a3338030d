/* The cases of tests/machine/bare that user mode can run, on this machine's own CPU: a child under ptrace, one line a stop.
 *
 *   case NAME
 *   db OFFSET dr6 VALUE rf BIT     SIGTRAP: RIP less the case's origin, the virtual DR6, RF as Linux's handler left it
 *   signal NUMBER OFFSET rf BIT    any other signal, which ends the case
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define DR(n) offsetof(struct user, u_debugreg[n])
#define SLOT(n, nibble) (1ul << 2 * (n) | (unsigned long)(nibble) << (16 + 4 * (n)))
enum { X = 0, W1 = 1, W2 = 5, W4 = 13, W8 = 9, RW1 = 3, RW4 = 15, RW8 = 11 };

unsigned char data[8192] __attribute__((aligned(4096)));
unsigned char stack_[8192] __attribute__((aligned(4096)));
#define CODE(name, text) \
    extern char c_##name[], o_##name[], e_##name[]; \
    __asm__(".text\n.intel_syntax noprefix\nc_" #name ":\n" text "\ne_" #name ": nop\nhlt\n.att_syntax prefix\n")
#define HERE(name) "o_" #name ":\n"

CODE(step_then_execute, "nop\n" HERE(step_then_execute) "nop\n nop\n");
CODE(data_then_execute, "mov dword ptr [rip + data], eax\n" HERE(data_then_execute) "nop\n");
CODE(step_and_data, "mov dword ptr [rip + data], eax\n" HERE(step_and_data));
CODE(rf_of_a_fault, HERE(rf_of_a_fault) "ud2\n");
CODE(rmw, "add dword ptr [rip + data], 1\n" HERE(rmw));
CODE(cmpxchg_that_fails, "mov eax, 6\n lock cmpxchg dword ptr [rip + data], ecx\n" HERE(cmpxchg_that_fails));
CODE(bit_test_beyond, "mov eax, 65\n bt qword ptr [rip + data], rax\n" HERE(bit_test_beyond));
CODE(xmm_over_its_middle, "movups xmmword ptr [rip + data + 64], xmm0\n" HERE(xmm_over_its_middle));
CODE(store_across_pages, "mov qword ptr [rip + data + 4096 - 5], rax\n" HERE(store_across_pages));
CODE(several_slots, "mov dword ptr [rip + data], eax\n" HERE(several_slots));
CODE(call_pushes, "call o_call_pushes\n" HERE(call_pushes) "nop\n");
CODE(ret_pops, "lea rbx, [rip + o_ret_pops]\n mov [rip + stack_ + 4088], rbx\n sub rsp, 8\n ret\n" HERE(ret_pops));
CODE(push_of_memory, "push qword ptr [rip + data]\n" HERE(push_of_memory));
CODE(faulting_drops_its_match, "lea rsi, [rip + data]\n xor edi, edi\n" HERE(faulting_drops_its_match) "movsd\n");
CODE(rep_stosb, "lea rdi, [rip + data + 65]\n mov ecx, 2\n" HERE(rep_stosb) "rep stosb\n");
CODE(rep_movsb_backwards, "lea rdi, [rip + data + 67]\n lea rsi, [rip + data + 83]\n mov ecx, 3\n std\n"
     HERE(rep_movsb_backwards) "rep movsb\n cld\n");
CODE(rep_outside, "lea rdi, [rip + data + 64]\n mov ecx, 8\n" HERE(rep_outside) "rep stosb\n");
CODE(rep_zero, "lea rdi, [rip + data + 64]\n xor ecx, ecx\n" HERE(rep_zero) "rep stosb\n");
CODE(repe_cmpsb_ends, "mov dword ptr [rip + data + 64], 0x01010101\n mov dword ptr [rip + data + 80], 0x01020101\n"
     "lea rsi, [rip + data + 64]\n lea rdi, [rip + data + 80]\n mov ecx, 4\n" HERE(repe_cmpsb_ends) "repe cmpsb\n");
CODE(repne_scasb_ends, "mov dword ptr [rip + data + 64], 0x0707\n lea rdi, [rip + data + 64]\n xor eax, eax\n mov ecx, 4\n"
     HERE(repne_scasb_ends) "repne scasb\n");
CODE(rep_step, "lea rdi, [rip + data + 64]\n mov ecx, 3\n" HERE(rep_step) "rep stosb\n");
CODE(movss_read, "mov word ptr [rip + data], ss\n mov ss, [rip + data]\n nop\n" HERE(movss_read));
CODE(movss_cli_in_user_mode, "mov ss, [rip + data]\n" HERE(movss_cli_in_user_mode) "cli\n");
CODE(execute_first_byte, HERE(execute_first_byte) ".byte 0x2e, 0x90\n");
CODE(execute_inside, HERE(execute_inside) ".byte 0x2e, 0x90\n");
CODE(hw_bp1, HERE(hw_bp1) "nop\n");
CODE(hw_wp2, "mov qword ptr [rip + data], rax\n" HERE(hw_wp2));
CODE(step_movss_user, "mov ecx, ss\n mov ss, ecx\n nop\n" HERE(step_movss_user) "nop\n nop\n");

struct a_case {
    const char *name;
    char *code, *origin, *end;
    void *dr[4];
    unsigned long dr7;
    int step; /* whether it is stepped; 2: the stop before the origin's own instruction is not printed */
};
#define CASE(name) #name, c_##name, o_##name, e_##name

static const struct a_case cases[] = {
    {CASE(step_then_execute), {0, 0, o_step_then_execute}, SLOT(2, X), 1},
    {CASE(data_then_execute), {data, 0, o_data_then_execute}, SLOT(0, W4) | SLOT(2, X), 0},
    {CASE(step_and_data), {data}, SLOT(0, W4), 1},
    {CASE(rf_of_a_fault), {0, 0, o_rf_of_a_fault}, SLOT(2, X), 0},
    {CASE(rmw), {data}, SLOT(0, W4), 0},
    {CASE(cmpxchg_that_fails), {data}, SLOT(0, W4), 0},
    {CASE(bit_test_beyond), {data + 8}, SLOT(0, RW8), 0},
    {CASE(xmm_over_its_middle), {data + 70}, SLOT(0, W2), 0},
    {CASE(store_across_pages), {data + 4096}, SLOT(0, W1), 0},
    {CASE(several_slots), {data, data + 2, 0, data}, SLOT(0, W1) | SLOT(1, W2) | SLOT(3, RW4), 0},
    {CASE(call_pushes), {stack_ + 4088}, SLOT(0, W8), 0},
    {CASE(ret_pops), {stack_ + 4088}, SLOT(0, RW8), 0},
    {CASE(push_of_memory), {stack_ + 4088, data}, SLOT(0, W8) | SLOT(1, RW4), 0},
    {CASE(faulting_drops_its_match), {data}, SLOT(0, RW4), 0},
    {CASE(rep_stosb), {data + 64}, SLOT(0, W4), 0},
    {CASE(rep_movsb_backwards), {data + 66, data + 82}, SLOT(0, W1) | SLOT(1, RW1), 0},
    {CASE(rep_outside), {data + 72}, SLOT(0, W8), 0},
    {CASE(rep_zero), {data + 64}, SLOT(0, W8), 0},
    {CASE(repe_cmpsb_ends), {data + 64}, SLOT(0, RW4), 0},
    {CASE(repne_scasb_ends), {data + 64}, SLOT(0, RW4), 0},
    {CASE(rep_step), {0}, 0, 2},
    {CASE(movss_read), {data}, SLOT(0, RW4), 0},
    {CASE(movss_cli_in_user_mode), {data}, SLOT(0, RW4), 0},
    {CASE(execute_first_byte), {0, 0, o_execute_first_byte}, SLOT(2, X), 0},
    {CASE(execute_inside), {0, 0, o_execute_inside + 1}, SLOT(2, X), 0},
    {CASE(hw_bp1), {0, 0, o_hw_bp1}, SLOT(2, X), 0},
    {CASE(hw_wp2), {0, data}, SLOT(1, W4), 0},
    {CASE(step_movss_user), {0}, 0, 1},
};

static int check(long result, const char *what)
{
    if (result)
        perror(what), exit(2);
    return 0;
}

static void run(const struct a_case *one)
{
    struct user_regs_struct regs;
    int status, arrived = 0;
    pid_t pid = fork();
    if (!pid) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        __asm__ volatile("mov %%ss, %0" : "=m"(*(short *)data));
        raise(SIGSTOP);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    for (int n = 0; n < 4; n++)
        if (one->dr[n])
            check(ptrace(PTRACE_POKEUSER, pid, DR(n), one->dr[n]), "PTRACE_POKEUSER DRn");
    check(ptrace(PTRACE_POKEUSER, pid, DR(7), one->dr7), "PTRACE_POKEUSER DR7");
    check(ptrace(PTRACE_GETREGS, pid, 0, &regs), "PTRACE_GETREGS");
    regs.rip = (unsigned long)one->code;
    regs.rsp = (unsigned long)stack_ + 4096;
    regs.orig_rax = -1;
    check(ptrace(PTRACE_SETREGS, pid, 0, &regs), "PTRACE_SETREGS");
    printf("case %s\n", one->name);
    for (int stop = 0; stop < 16; stop++) {
        ptrace(one->step ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, 0, 0);
        waitpid(pid, &status, 0);
        if (!WIFSTOPPED(status))
            break;
        ptrace(PTRACE_GETREGS, pid, 0, &regs);
        long offset = (long)(regs.rip - (unsigned long)one->origin);
        int signal = WSTOPSIG(status), rf = regs.eflags >> 16 & 1;
        unsigned long dr6 = (unsigned long)ptrace(PTRACE_PEEKUSER, pid, DR(6), 0);
        if (regs.rip > (unsigned long)one->end)
            break;
        if (signal != SIGTRAP) {
            if (regs.rip != (unsigned long)one->end + 1)
                printf("signal %d %lx rf %d\n", signal, offset, rf);
            break;
        }
        if (offset >= 0 && !(one->step == 2 && !offset && !arrived++))
            printf("db %lx dr6 %lx rf %d\n", offset, dr6, rf);
        ptrace(PTRACE_POKEUSER, pid, DR(6), 0);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

int main(void)
{
    setvbuf(stdout, 0, _IONBF, 0);
    for (unsigned n = 0; n < sizeof cases / sizeof *cases; n++)
        run(&cases[n]);
    printf("end\n");
    return 0;
}
