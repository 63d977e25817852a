/* Holds the namespaces of a Pod open, and reaps what its containers leave behind. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void leave(int signal) { _exit(signal == 0); }
static void reap(int signal) {
    (void)signal;
    while (waitpid(-1, 0, WNOHANG) > 0) {}
}

int main(void) {
    sigaction(SIGINT, &(struct sigaction){.sa_handler = leave}, 0);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = leave}, 0);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = reap, .sa_flags = SA_NOCLDSTOP}, 0);
    for (;;) pause();
}
