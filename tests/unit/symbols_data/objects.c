#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

struct point {
    int x, y;
};
struct node {
    long value;
    struct node *next;
};
typedef struct {
    int version;
    long limits[4];
    struct point p;
    union {
        int i;
        char c[8];
    };
    const struct point *where;
    unsigned flag : 3, level : 5;
    struct {
        short a, b;
    } inner[2];
    char tail[];
} config_t;

config_t cfg;
struct point grid[3][4];
struct node second = {2, NULL};
struct node first = {1, &second};
struct node *head = &first;
struct node **volatile handle = &head;
static int counter = 5;
static const int constant = 7;
char text[16];
__thread int per_thread = 3;
volatile int numbers[10];
struct opaque *unknown;
void (*callback)(int);
extern char **environ;

int add_limit(long amount) {
    static int calls;
    calls++;
    cfg.limits[3] += amount;

    return calls;
}

static int twice(void) {
    static int calls;
    return calls += 2;
}

#define SHOW(name, lvalue) printf("%s %lu %lu\n", name, (unsigned long)&(lvalue), (unsigned long)sizeof(lvalue))

int main(int argc, char **argv) {
    SHOW("cfg", cfg);
    SHOW("cfg.version", cfg.version);
    SHOW("cfg.limits", cfg.limits);
    SHOW("cfg.limits[3]", cfg.limits[3]);
    SHOW("cfg.limits[(1 + 1) * 2 - 1]", cfg.limits[3]);
    SHOW("cfg.p", cfg.p);
    SHOW("cfg.p.y", cfg.p.y);
    SHOW("cfg.i", cfg.i);
    SHOW("cfg.c[5]", cfg.c[5]);
    SHOW("cfg.where", cfg.where);
    SHOW("cfg.inner[1].b", cfg.inner[1].b);
    SHOW("grid", grid);
    SHOW("grid[1]", grid[1]);
    SHOW("grid[2][3]", grid[2][3]);
    SHOW("grid[2][3].y", grid[2][3].y);
    SHOW("*grid", *grid);
    SHOW("text", text);
    SHOW("text[15]", text[15]);
    SHOW("numbers[9]", numbers[9]);
    SHOW("head", head);
    SHOW("*head", *head);
    SHOW("head->next", head->next);
    SHOW("head->next->value", head->next->value);
    SHOW("(*head).next", (*head).next);
    SHOW("head[0].value", head[0].value);
    SHOW("(*handle)->next->next", (*handle)->next->next);
    SHOW("counter", counter);
    SHOW("objects.c::counter", counter);
    SHOW("constant", constant);
    SHOW("callback", callback);
    SHOW("environ", environ);
    add_limit(counter + argc);
    add_limit(twice());
    printf("%s %d\n", argv[0], per_thread + constant);
    return numbers[argc];
}
