// An app's process: fills anonymous memory, then sleeps until it is killed. `app MIB`: returns when the memory is
// filled and leaves a child that holds it. A page is half random and half constant: zram compresses it to about half.
#include "kernel.h"

enum { PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22, MIB = 1 << 20, PAGE = 4096, HALF = PAGE / 2 / 8 };

static void fill(unsigned long *words, unsigned long pages) {
    unsigned long state = 0;
    KERNEL(SYS_getrandom, &state, sizeof state, 0);
    state |= 1;
    for (unsigned long page = 0; page < pages; page++, words += PAGE / 8) {
        for (int i = 0; i < HALF; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            words[i] = state;
        }
        for (int i = HALF; i < 2 * HALF; i++) words[i] = page;
    }
}

_Noreturn void start(int argc, char **argv, char **environment) {
    (void)environment;
    long mib = argc == 2 ? number(argv[1]) : -1;
    if (mib < 1) fail("usage: app MIB\n", 2);
    long memory = kernel(SYS_mmap, 0, mib * MIB, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -PAGE) fail("app: no memory\n", 1);
    fill((unsigned long *)memory, mib * MIB / PAGE);
    long child = KERNEL(SYS_fork, 0, 0, 0);
    if (child < 0) fail("app: cannot fork\n", 1);
    if (child > 0) leave(0);
    KERNEL(SYS_setsid, 0, 0, 0);
    for (;;) KERNEL(SYS_pause, 0, 0, 0);
}
