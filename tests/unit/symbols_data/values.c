/* One variable of each kind that an expression can meet. */
#include <stdint.h>
#include <stdio.h>

enum state { OFF, ON, BUSY = 5 };
enum flags { READ = 1, WRITE = 2, EXEC = 4 };
struct node {
    int value;
    struct node *next;
};
typedef struct {
    int version;
    long limits[4];
    enum state state;
    unsigned flag : 1;
    unsigned level : 3;
    signed delta : 4;
    char name[16];
    double ratio;
    float half;
    struct node *head;
    union {
        int whole;
        unsigned char parts[4];
    };
    int (*call)(int);
    const char *title;
    _Bool on;
    enum flags flags;
    int8_t small;
    int grid[2][3];
} config_t;

struct node second = {2, 0}, first = {1, &second};
static int twice(int x) { return 2 * x; }
config_t cfg = {3,    {1, -2, 3, 4}, ON, 1,           5,     -3, "he\033llo", 2.5, 0.25f, &first, {0x01020304},
                twice, "title",       1,  READ | WRITE, -7, {{1, 2, 3}, {4, 5, 6}}};
config_t *current = &cfg;
unsigned char bytes[40];
long count = 41;
int *nothing = 0;
void *raw = &cfg;
__thread int per_thread = 7;
struct opaque *unknown;

int main(int argc, char **argv) {
    long total = argc;
    for (int i = 0; i < 3; i++) {
        long square = (long)i * i;
        total += square + twice(i);
    }
    printf("%ld %d\n", total, per_thread);
    return 0;
}
