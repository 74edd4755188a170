"""Decoders beyond the first ones: how a tiny one of each family is built, and which of its options
the goldens must be able to see. Used by tiny_models.py.
"""

import transformers as t

COMMON = dict(vocab_size=300, bos_token_id=1, eos_token_id=2, pad_token_id=0)
SIZES = dict(**COMMON, hidden_size=64, intermediate_size=176, num_hidden_layers=3,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
# Few experts of which the router chooses clearly: a choice that rounding changes tells nothing.
EXPERTS = dict(SIZES, num_experts_per_tok=2)
LONG_ROPE = dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
                 short_factor=[1.0, 1.1, 1.3, 1.6, 2.0, 2.5],
                 long_factor=[1.2, 1.9, 3.0, 5.0, 9.0, 14.0], attention_factor=1.25)


def rope(kind="default", theta=10000.0, **more):
    return dict(rope_type=kind, rope_theta=theta, **more)


DECODERS = {
    "llama-biases": lambda: t.LlamaForCausalLM(t.LlamaConfig(
        **SIZES, rope_parameters=rope("linear", factor=4.0), attention_bias=True, mlp_bias=True)),
    "llama-yarn": lambda: t.LlamaForCausalLM(t.LlamaConfig(
        **SIZES, rope_parameters=rope(
            "yarn", 500.0, factor=4.0, original_max_position_embeddings=16, beta_fast=4.0,
            mscale=0.707, mscale_all_dim=0.3, truncate=False))),
    "mixtral": lambda: t.MixtralForCausalLM(t.MixtralConfig(
        **dict(EXPERTS, intermediate_size=48), num_local_experts=3, sliding_window=7)),
    "qwen2-moe": lambda: t.Qwen2MoeForCausalLM(t.Qwen2MoeConfig(
        **EXPERTS, num_experts=4, moe_intermediate_size=56, shared_expert_intermediate_size=48)),
    "qwen2-moe-mixed": lambda: t.Qwen2MoeForCausalLM(t.Qwen2MoeConfig(
        **dict(EXPERTS, num_hidden_layers=4), num_experts=4, moe_intermediate_size=40,
        shared_expert_intermediate_size=56, norm_topk_prob=True, decoder_sparse_step=2,
        mlp_only_layers=[1], use_sliding_window=True, sliding_window=5, max_window_layers=3)),
    "qwen3-moe": lambda: t.Qwen3MoeForCausalLM(t.Qwen3MoeConfig(
        **EXPERTS, head_dim=32, num_experts=3, moe_intermediate_size=56, norm_topk_prob=True)),
    "phi3": lambda: t.Phi3ForCausalLM(t.Phi3Config(
        **SIZES, rope_parameters=dict(LONG_ROPE), original_max_position_embeddings=16,
        sliding_window=9)),
    # The same weights, within the original context.
    "phi3-short": lambda: t.Phi3ForCausalLM(t.Phi3Config(
        **SIZES, rope_parameters=dict(LONG_ROPE), original_max_position_embeddings=64,
        sliding_window=9)),
    "gemma": lambda: t.GemmaForCausalLM(t.GemmaConfig(**SIZES, head_dim=24)),
    "gemma2": lambda: t.Gemma2ForCausalLM(t.Gemma2Config(
        **SIZES, head_dim=24, query_pre_attn_scalar=24, sliding_window=6,
        attn_logit_softcapping=2.0, final_logit_softcapping=3.0)),
    "smollm3": lambda: t.SmolLM3ForCausalLM(t.SmolLM3Config(
        **dict(SIZES, num_hidden_layers=5))),
    "granite": lambda: t.GraniteForCausalLM(t.GraniteConfig(
        **SIZES, embedding_multiplier=3.0, logits_scaling=2.5, residual_multiplier=0.3,
        attention_multiplier=0.11)),
    "granite-moe": lambda: t.GraniteMoeForCausalLM(t.GraniteMoeConfig(
        **dict(EXPERTS, intermediate_size=48), num_local_experts=3, embedding_multiplier=3.0,
        logits_scaling=2.5, residual_multiplier=0.5, attention_multiplier=0.11,
        tie_word_embeddings=True)),
    "starcoder2": lambda: t.Starcoder2ForCausalLM(t.Starcoder2Config(**SIZES, sliding_window=9)),
    "gpt-neox": lambda: t.GPTNeoXForCausalLM(t.GPTNeoXConfig(
        **without(SIZES, "num_key_value_heads"), rope_parameters=rope(partial_rotary_factor=0.25))),
    "gpt-neox-serial": lambda: t.GPTNeoXForCausalLM(t.GPTNeoXConfig(
        **without(SIZES, "num_key_value_heads"), rope_parameters=rope(partial_rotary_factor=1.0),
        use_parallel_residual=False, attention_bias=False)),
    "phi": lambda: t.PhiForCausalLM(t.PhiConfig(
        **SIZES, rope_parameters=rope(partial_rotary_factor=0.5))),
    "phi-qk-norm": lambda: t.PhiForCausalLM(t.PhiConfig(
        **SIZES, rope_parameters=rope(partial_rotary_factor=0.4),
        qk_layernorm=True)),
    "stablelm": lambda: t.StableLmForCausalLM(t.StableLmConfig(
        **SIZES, rope_parameters=rope(partial_rotary_factor=0.25), use_qkv_bias=True)),
    "stablelm-parallel": lambda: t.StableLmForCausalLM(t.StableLmConfig(
        **SIZES, rope_parameters=rope(partial_rotary_factor=0.25), use_parallel_residual=True)),
    "cohere": lambda: t.CohereForCausalLM(t.CohereConfig(**SIZES, logit_scale=0.3)),
    "cohere2": lambda: t.Cohere2ForCausalLM(t.Cohere2Config(
        **dict(SIZES, num_hidden_layers=4, intermediate_size=168), logit_scale=0.3,
        sliding_window=6)),
}


def without(sizes, key):
    return {k: v for k, v in sizes.items() if k != key}


def put(**changes):
    return lambda config: config.update(changes)


def put_rope(**changes):
    return lambda config: config["rope_parameters"].update(changes)


FEATURES = {
    "llama-biases": [("no scaling", put_rope(rope_type="default"))],
    "llama-yarn": [("rounded ramp", put_rope(truncate=True)),
                   ("usual factor on q and k", put_rope(mscale=0.0)),
                   ("no scaling", put_rope(rope_type="default"))],
    "mixtral": [("window one longer", put(sliding_window=8)),
                ("one expert", put(num_experts_per_tok=1))],
    "qwen2-moe": [("weights scaled to one", put(norm_topk_prob=True))],
    "qwen2-moe-mixed": [("weights as they are", put(norm_topk_prob=False)),
                        ("all full attention", put(layer_types=["full_attention"] * 4))],
    "qwen3-moe": [("weights as they are", put(norm_topk_prob=False))],
    "phi3": [("short factors", put(original_max_position_embeddings=64)),
             ("window one longer", put(sliding_window=10)),
             ("factor on q and k", put_rope(attention_factor=1.0))],
    "phi3-short": [("long factors", put(original_max_position_embeddings=16))],
    "gemma": [("relu", put(hidden_act="relu"))],
    "gemma2": [("no cap on scores", put(attn_logit_softcapping=None)),
               ("no cap on logits", put(final_logit_softcapping=None)),
               ("another scale", put(query_pre_attn_scalar=20)),
               ("all full attention", put(layer_types=["full_attention"] * 3)),
               ("window one longer", put(sliding_window=7))],
    "smollm3": [("positions everywhere", put(no_rope_layers=[1] * 5))],
    "granite": [("embeddings as they are", put(embedding_multiplier=1.0)),
                ("logits as they are", put(logits_scaling=1.0)),
                ("blocks as they are", put(residual_multiplier=1.0)),
                ("usual scale", put(attention_multiplier=0.25))],
    "granite-moe": [("blocks as they are", put(residual_multiplier=1.0)),
                    ("one expert", put(num_experts_per_tok=1))],
    "starcoder2": [("relu", put(hidden_act="relu")),
                   ("window one longer", put(sliding_window=10))],
    "gpt-neox": [("relu", put(hidden_act="relu")),
                 ("one after the other", put(use_parallel_residual=False)),
                 ("half of the heads", put_rope(partial_rotary_factor=0.5))],
    "gpt-neox-serial": [("side by side", put(use_parallel_residual=True))],
    "phi": [("relu", put(hidden_act="relu")),
            ("whole heads", put_rope(partial_rotary_factor=1.0))],
    "stablelm": [("whole heads", put_rope(partial_rotary_factor=1.0))],
    "cohere": [("logits as they are", put(logit_scale=1.0))],
    "cohere2": [("all full attention", put(layer_types=["full_attention"] * 4)),
                ("window one longer", put(sliding_window=7))],
}
