// SPDX-License-Identifier: Apache-2.0
/* am: hands its words, stdout and stderr to system_server and ends with the status it is told, as Android's cmd. */
#include <string.h>
#include <unistd.h>

#include "activity.h"
#include "guest.h"

enum { NO_SERVICE = 20, FAILED_CALL = 224 };

int main(int argc, char **argv)
{
	const int out_err[] = { STDOUT_FILENO, STDERR_FILENO };
	static char request[4096];
	unsigned char status;
	size_t used = 0;
	int server;

	for (int i = 1; i < argc; i++) {
		size_t size = strlen(argv[i]) + 1;

		if (used + size > sizeof(request))
			fail(255, "am: arguments too long\n");
		memcpy(request + used, argv[i], size);
		used += size;
	}
	/* A packet of no bytes would read as the end. */
	server = activity_ask(request, used ? used : 1, out_err);
	if (server < 0)
		fail(NO_SERVICE, "cmd: Can't find service: activity\n");
	if (read(server, &status, 1) != 1)
		fail(FAILED_CALL, "cmd: Failure calling service activity: Broken pipe (32)\n");
	return status;
}
