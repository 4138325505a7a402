// SPDX-License-Identifier: Apache-2.0
/* Looks at the phone's memory a few times a second while apps are used, and says what that costs. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "blockstat.h"
#include "daemon.h"
#include "records.h"

enum {
	INTERVAL_MIN_MS = 10,
	INTERVAL_MAX_MS = 60000,
	SAMPLES_MAX = 1 << 20,
	FILE_BYTES = 4096,
	VMSTAT_BYTES = 32768,
	MM_STAT_USED = 2,
};

/* What this kernel has no counter for. */
#define NOT_COUNTED UINT64_MAX

/* What is counted since boot. */
struct totals {
	uint64_t t_ns;
	uint64_t bd[3];
	struct blockstat disk, backing;
	uint64_t psi_some_us, psi_full_us;
	uint64_t pswpin, pswpout, refault, refault_anon, refault_file, pgmajfault, oom_kill;
};

static struct {
	bool running;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	uint64_t zram, interval_ns;
	char disk[32], backing[32];
	int meminfo, mm_stat, bd_stat, pressure;
	struct buffer samples;
	size_t count;
	uint64_t missed, cpu_ns;
	struct totals before;
} self = { .lock = PTHREAD_MUTEX_INITIALIZER, .meminfo = -1, .mm_stat = -1, .bd_stat = -1, .pressure = -1 };

/* The file as it is now, without opening it again; empty if it cannot be read. */
static const char *reread(int fd, char text[FILE_BYTES])
{
	ssize_t n = pread(fd, text, FILE_BYTES - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* The number behind a word; 0 if it is not there. */
static uint64_t number_after(const char *text, const char *word)
{
	const char *at = strstr(text, word);

	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

/* A counter that this kernel may not have. */
static uint64_t counter_after(const char *text, const char *word)
{
	return strstr(text, word) ? number_after(text, word) : NOT_COUNTED;
}

/* "12.34" of avg10= as 123 thousandths. */
static uint64_t permille_after(const char *text, const char *word)
{
	const char *at = strstr(text, word), *dot;

	at = at ? strstr(at, "avg10=") : NULL;
	if (!at)
		return 0;
	dot = strchr(at, '.');
	return strtoull(at + 6, NULL, 10) * 10 + (dot && dot[1] >= '0' && dot[1] <= '9' ? (uint64_t)(dot[1] - '0') : 0);
}

static uint64_t column(const char *text, int number)
{
	char *end;

	for (; number; number--) {
		strtoull(text, &end, 10);
		text = end;
	}
	return strtoull(text, NULL, 10);
}

/* zram's own counters stay as they were while one of our writebacks runs: reading them would wait for its end. */
static void take_sample(struct memory_sample *sample, const struct memory_sample *last)
{
	char text[FILE_BYTES];

	sample->t_ns = now_ns(CLOCK_MONOTONIC);
	reread(self.meminfo, text);
	sample->available_kib = number_after(text, "MemAvailable:");
	sample->swap_used_kib = number_after(text, "SwapTotal:") - number_after(text, "SwapFree:");
	reread(self.pressure, text);
	sample->psi_some_permille = permille_after(text, "some ");
	sample->psi_full_permille = permille_after(text, "full ");
	sample->zram_used_kib = last ? last->zram_used_kib : 0;
	sample->written_back_4k = last ? last->written_back_4k : 0;
	if (!zram_quiet_begin())
		return;
	sample->zram_used_kib = column(reread(self.mm_stat, text), MM_STAT_USED) / 1024;
	sample->written_back_4k = column(reread(self.bd_stat, text), 0);
	zram_quiet_end();
}

static void sleep_until(uint64_t at_ns)
{
	struct timespec until = { .tv_sec = (time_t)(at_ns / 1000000000), .tv_nsec = (long)(at_ns % 1000000000) };

	while (!self.stop && pthread_cond_timedwait(&self.wake, &self.lock, &until) != ETIMEDOUT)
		;
}

static void *run(void *unused)
{
	struct memory_sample *sample = self.samples.data;
	uint64_t room = self.samples.bytes / sizeof(*sample), next = now_ns(CLOCK_MONOTONIC);

	(void)unused;
	pthread_mutex_lock(&self.lock);
	while (!self.stop) {
		pthread_mutex_unlock(&self.lock);
		if (self.count < room) {
			take_sample(&sample[self.count], self.count ? &sample[self.count - 1] : NULL);
			self.count++;
		} else {
			self.missed++;
		}
		next += self.interval_ns;
		pthread_mutex_lock(&self.lock);
		sleep_until(next);
	}
	pthread_mutex_unlock(&self.lock);
	self.cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static int read_totals(struct totals *totals, struct reply *rep)
{
	static char text[VMSTAT_BYTES];
	const char *full;

	totals->t_ns = now_ns(CLOCK_MONOTONIC);
	if (read_file("/proc/vmstat", text, sizeof(text)) < 0)
		return reply_fail(rep, errno, "read /proc/vmstat");
	totals->pswpin = number_after(text, "\npswpin ");
	totals->pswpout = number_after(text, "\npswpout ");
	totals->refault_anon = counter_after(text, "\nworkingset_refault_anon ");
	totals->refault_file = counter_after(text, "\nworkingset_refault_file ");
	/* Before 5.9 both are one. */
	totals->refault = totals->refault_anon == NOT_COUNTED ? counter_after(text, "\nworkingset_refault ") :
								totals->refault_anon + totals->refault_file;
	totals->pgmajfault = number_after(text, "\npgmajfault ");
	totals->oom_kill = counter_after(text, "\noom_kill ");
	reread(self.pressure, text);
	full = strstr(text, "full ");
	totals->psi_some_us = number_after(text, "total=");
	totals->psi_full_us = full ? number_after(full, "total=") : 0;
	/* All zero where none was named. */
	totals->disk = blockstat_of(self.disk);
	totals->backing = blockstat_of(self.backing);
	return read_bd_stat(self.zram, totals->bd, rep);
}

static void release(void)
{
	close_scoped(&self.meminfo);
	close_scoped(&self.mm_stat);
	close_scoped(&self.bd_stat);
	close_scoped(&self.pressure);
	buffer_free(&self.samples);
}

static int open_files(struct reply *rep)
{
	char path[PATH_BYTES];

	self.meminfo = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	/* A kernel without PSI has none: its columns are 0. */
	self.pressure = open("/proc/pressure/memory", O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/sys/block/zram%llu/mm_stat", (unsigned long long)self.zram);
	self.mm_stat = open(path, O_RDONLY | O_CLOEXEC);
	if (self.meminfo < 0 || self.mm_stat < 0)
		return reply_fail(rep, errno, "open %s", self.meminfo < 0 ? "/proc/meminfo" : path);
	snprintf(path, sizeof(path), "/sys/block/zram%llu/bd_stat", (unsigned long long)self.zram);
	self.bd_stat = open(path, O_RDONLY | O_CLOEXEC);
	return self.bd_stat < 0 ? reply_fail(rep, errno, "open %s", path) : 0;
}

static int check_names(const struct request *req, struct reply *rep)
{
	const char *disk = arg_text(req, "disk", ""), *backing = arg_text(req, "backing", "");

	if (strlen(disk) >= sizeof(self.disk) || strlen(backing) >= sizeof(self.backing))
		return reply_fail(rep, 0, "disk, backing: a name has at most %zu characters", sizeof(self.disk) - 1);
	strcpy(self.disk, disk);
	strcpy(self.backing, backing);
	return 0;
}

static int begin(const struct request *req, struct reply *rep)
{
	uint64_t interval_ms = arg_number(req, "interval_ms", 0), seconds = arg_number(req, "duration_s", 0);
	uint64_t samples = interval_ms ? seconds * 1000 / interval_ms + 2 : 0;

	if (interval_ms < INTERVAL_MIN_MS || interval_ms > INTERVAL_MAX_MS)
		return reply_fail(rep, 0, "interval_ms=%llu: expected %d to %d", (unsigned long long)interval_ms,
				  INTERVAL_MIN_MS, INTERVAL_MAX_MS);
	if (!seconds || seconds > UINT32_MAX || samples > SAMPLES_MAX)
		return reply_fail(rep, 0, "duration_s=%llu: more than %d samples", (unsigned long long)seconds,
				  SAMPLES_MAX);
	self.zram = arg_number(req, "zram", 0);
	self.interval_ns = interval_ms * 1000000;
	self.stop = false;
	self.count = 0;
	self.missed = self.cpu_ns = 0;
	if (check_names(req, rep) || open_files(rep) ||
	    buffer_make(&self.samples, samples, sizeof(struct memory_sample), rep))
		return -1;
	return read_totals(&self.before, rep);
}

int cmd_sample_start(const struct request *req, struct reply *rep)
{
	pthread_condattr_t attributes;
	int error;

	if (self.running)
		return reply_fail(rep, EALREADY, "the sampler runs");
	if (begin(req, rep)) {
		release();
		return -1;
	}
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&self.wake, &attributes);
	pthread_condattr_destroy(&attributes);
	error = pthread_create(&self.thread, NULL, run, NULL);
	if (error) {
		pthread_cond_destroy(&self.wake);
		release();
		return reply_fail(rep, error, "start the sampler's thread");
	}
	self.running = true;
	reply_u64(rep, "t_ns", self.before.t_ns);
	return 0;
}

/* What a kernel does not count is left out: it is unknown, and not 0. */
static void reply_counted(struct reply *rep, const char *name, uint64_t before, uint64_t after)
{
	if (before != NOT_COUNTED && after != NOT_COUNTED)
		reply_u64(rep, name, after - before);
}

static void reply_totals(struct reply *rep, const struct totals *before, const struct totals *after)
{
	reply_u64(rep, "wall_ns", after->t_ns - before->t_ns);
	reply_u64(rep, "cpu_ns", self.cpu_ns);
	reply_u64(rep, "samples", self.count);
	reply_u64(rep, "missed", self.missed);
	reply_bd(rep, "bd_before", before->bd);
	reply_bd(rep, "bd_after", after->bd);
	reply_u64(rep, "disk_written_sectors", after->disk.written_sectors - before->disk.written_sectors);
	reply_u64(rep, "backing_written_sectors", after->backing.written_sectors - before->backing.written_sectors);
	reply_u64(rep, "backing_read_sectors", after->backing.read_sectors - before->backing.read_sectors);
	reply_u64(rep, "psi_some_us", after->psi_some_us - before->psi_some_us);
	reply_u64(rep, "psi_full_us", after->psi_full_us - before->psi_full_us);
	reply_u64(rep, "pswpin", after->pswpin - before->pswpin);
	reply_u64(rep, "pswpout", after->pswpout - before->pswpout);
	reply_counted(rep, "refault", before->refault, after->refault);
	reply_counted(rep, "refault_anon", before->refault_anon, after->refault_anon);
	reply_counted(rep, "refault_file", before->refault_file, after->refault_file);
	reply_u64(rep, "pgmajfault", after->pgmajfault - before->pgmajfault);
	reply_counted(rep, "oom_kill", before->oom_kill, after->oom_kill);
}

int cmd_sample_stop(const struct request *req, struct reply *rep)
{
	struct totals after;
	int error;

	if (!self.running)
		return reply_fail(rep, 0, "the sampler does not run");
	pthread_mutex_lock(&self.lock);
	self.stop = true;
	pthread_cond_signal(&self.wake);
	pthread_mutex_unlock(&self.lock);
	pthread_join(self.thread, NULL);
	pthread_cond_destroy(&self.wake);
	self.running = false;
	error = read_totals(&after, rep);
	if (!error) {
		reply_totals(rep, &self.before, &after);
		error = write_out(arg_text(req, "out", ""), self.samples.data,
				  self.count * sizeof(struct memory_sample), rep);
	}
	release();
	return error;
}
