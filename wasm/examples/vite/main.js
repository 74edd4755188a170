import { Kinglet } from 'kinglet';

const answer = document.querySelector('#answer');
const model = await Kinglet.load('/models/smollm2-135m.kinglet', {
  onProgress: ({ loaded, total }) => (answer.textContent = `${Math.round((100 * loaded) / total)} %`),
});
answer.textContent = '';
for await (const piece of model.chat().say('Why is the sky blue?', { maxTokens: 64 })) {
  answer.append(piece);
}
