// A disk whose sync takes longer: `fsync` and `fdatasync` of this library wait, then do what they are called for. Loaded into a
// contestant and its children by `slow-disk.sh`; SLOW_DISK_US says how long they wait, in microseconds.
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_for_the_disk(void) {
    const char *us = getenv("SLOW_DISK_US");
    long left = us ? strtol(us, NULL, 10) : 0;
    struct timespec pause = { left / 1000000, left % 1000000 * 1000 };
    int before = errno;
    // A signal does not make a disk faster: Postgres' processes wake each other with signals all the time.
    while (nanosleep(&pause, &pause) != 0 && errno == EINTR) {
    }
    errno = before;
}

int fsync(int file) {
    wait_for_the_disk();
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    wait_for_the_disk();
    return (int)syscall(SYS_fdatasync, file);
}
