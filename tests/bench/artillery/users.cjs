// The functions of users.yml.
const [low, high] = [Number(process.env.LOW), Number(process.env.HIGH)];
const end = Date.now() + 1000 * Number(process.env.SECONDS);

module.exports = {
  check(_request, answer, _context, _events, next) {
    next(JSON.parse(answer.body).id === 17 ? undefined : new Error("not seventeen"));
  },
  pause(_context, _events, next) {
    setTimeout(next, 1000 * (low + (high - low) * Math.random()));
  },
  lasts(_context, next) {
    next(Date.now() < end);
  },
};
