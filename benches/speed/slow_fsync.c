/* Counts what a program asks the disk to make durable, and can make the disk slow.
 *
 * Loaded with LD_PRELOAD, also into the children of a script. SLOW_FSYNC_COUNTS names a file with one
 * 64-bit counter for each `enum kind`, shared by all processes; without it nothing is counted.
 * SLOW_FSYNC_US is how long each call sleeps first, in microseconds. What makes the system call
 * without the C library is not seen: Rust's standard library and SQLite go through it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The order in which `measure.rs` reads them. */
enum kind { LOG, DATABASE, FOLDER, PLAIN_FILE, WHOLE_DISK, KINDS };

static uint64_t *counts;
static struct timespec delay;

__attribute__((constructor)) static void begin(void)
{
    const char *microseconds = getenv("SLOW_FSYNC_US");
    long wanted = microseconds ? atol(microseconds) : 0;
    delay.tv_sec = wanted / 1000000;
    delay.tv_nsec = wanted % 1000000 * 1000;
    const char *path = getenv("SLOW_FSYNC_COUNTS");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    size_t size = KINDS * sizeof *counts;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory != MAP_FAILED)
        counts = memory;
    close(file);
}

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

static enum kind kind_of(int fd)
{
    char link[64], path[4096];
    struct stat about;
    if (fstat(fd, &about) == 0 && S_ISDIR(about.st_mode))
        return FOLDER;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    if (ends_with(path, "-wal") || ends_with(path, "-journal"))
        return LOG;
    return ends_with(path, ".db") ? DATABASE : PLAIN_FILE;
}

static void note(enum kind kind)
{
    if (counts)
        __atomic_fetch_add(&counts[kind], 1, __ATOMIC_RELAXED);
    if (delay.tv_sec || delay.tv_nsec)
        nanosleep(&delay, NULL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd)
{
    note(kind_of(fd));
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    note(kind_of(fd));
    return REAL(fdatasync)(fd);
}

int syncfs(int fd)
{
    note(WHOLE_DISK);
    return REAL(syncfs)(fd);
}

void sync(void)
{
    note(WHOLE_DISK);
    REAL(sync)();
}
