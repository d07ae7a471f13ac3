/* Moves the wall clock of a process by CLOCK_SHIFT_S seconds, and nothing else: monotonic clocks,
 * sleeps, timeouts and the times of files stay as they are. Preloaded by tests/dates/clock.py.
 *
 * The time comes from a system call of its own, because looking up libc's function allocates, and
 * an allocator that asks for the time while it starts (jemalloc) would wait for itself.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* A deadline later than this (2001) is one of the wall clock: no machine has run for 31 years. */
#define FIRST_WALL_S 1000000000

static time_t shift_s;

__attribute__((constructor)) static void read_shift(void) {
    const char *value = getenv("CLOCK_SHIFT_S");
    shift_s = value ? (time_t)strtoll(value, NULL, 10) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += shift_s;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *stored) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (stored)
        *stored = now.tv_sec;
    return now.tv_sec;
}

/* The kernel measures a deadline by its own clock. Left as it is, a wait that a process computed
 * from the moved one would last for months, or end at once and so make a loop of it spin. */
static struct timespec in_kernel_time(const struct timespec *deadline) {
    struct timespec moved = *deadline;
    if (moved.tv_sec > FIRST_WALL_S)
        moved.tv_sec -= shift_s;
    return moved;
}

typedef int wait_on_condition(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
typedef int wait_on_semaphore(sem_t *, const struct timespec *);

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
    static wait_on_condition *wait;
    struct timespec moved = in_kernel_time(deadline);
    if (!wait)
        wait = (wait_on_condition *)dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    return wait(condition, mutex, &moved);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
    static wait_on_semaphore *wait;
    struct timespec moved = in_kernel_time(deadline);
    if (!wait)
        wait = (wait_on_semaphore *)dlsym(RTLD_NEXT, "sem_timedwait");
    return wait(semaphore, &moved);
}
