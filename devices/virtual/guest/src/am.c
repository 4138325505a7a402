// SPDX-License-Identifier: Apache-2.0
// am: hands its words, stdout and stderr to system_server and ends with the status it is told, as Android's `cmd` does.
#include "activity.h"

enum { NO_SERVICE = 20, FAILED_CALL = 224 };

static char request[4096];

_Noreturn void start(int argc, char **argv, char **environment)
{
	(void)environment;
	unsigned long used = 0;
	for (int i = 1; i < argc; i++) {
		unsigned long size = length(argv[i]) + 1;
		if (used + size > sizeof request)
			fail("am: arguments too long\n", 255);
		memcpy(request + used, argv[i], size);
		used += size;
	}
	const int fds[] = { 1, 2 };
	// A packet of no bytes would read as the end.
	long server = ask_activity(request, used ? used : 1, fds);
	if (server < 0)
		fail("cmd: Can't find service: activity\n", NO_SERVICE);
	unsigned char status;
	if (KERNEL(SYS_read, server, &status, 1) != 1) {
		fail("cmd: Failure calling service activity: Broken pipe (32)\n", FAILED_CALL);
	}
	leave(status);
}
