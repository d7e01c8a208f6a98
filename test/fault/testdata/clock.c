/* A clock that is wrong: loaded into redis-server (LD_PRELOAD), it adds
   FAULT_CLOCK_SKEW seconds to the time of day, and leaves alone what measures
   durations. Other programs keep the machine's time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

static long skew(void) {
  static int known;
  static long seconds;
  if (!known) {
    const char *s = getenv("FAULT_CLOCK_SKEW");
    seconds = s && !strcmp(program_invocation_short_name, "redis-server") ? atol(s) : 0;
    known = 1;
  }
  return seconds;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
  int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
  int r = real(tv, tz);
  if (!r && tv) tv->tv_sec += skew();
  return r;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(id, ts);
  if (!r && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) ts->tv_sec += skew();
  return r;
}

time_t time(time_t *at) {
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME_COARSE, &ts);
  if (at) *at = ts.tv_sec;
  return ts.tv_sec;
}
