"""More of diffusers' pipelines at tiny sizes: other tasks of the families in `batch_samples`, and videos."""

from __future__ import annotations

from diffusers import (
    CogVideoXTransformer3DModel,
    LatteTransformer3DModel,
    LCMScheduler,
    Lumina2Transformer2DModel,
    SD3Transformer2DModel,
)

from tests.support.batch_samples import CONTROLLED, CONTROLLED_XL, EDITED, PAINTED, SD3
from tests.support.batches import (
    PIXELS,
    SIZE,
    WIDTH,
    Sample,
    called,
    masked,
    pooled,
    stable,
    transformer,
    unet,
    unet_xl,
    with_vae,
    words,
)

MORE_PIPELINES = {
    "StableDiffusionXLPAGInpaintPipeline": Sample(stable(unet_xl), called(pooled, **PAINTED, pag_scale=2.0)),
    "StableDiffusionControlNetPAGInpaintPipeline": Sample(
        CONTROLLED, called(**PAINTED, control_image=PIXELS, pag_scale=2.0)
    ),
    "StableDiffusionXLControlNetPAGImg2ImgPipeline": Sample(
        CONTROLLED_XL, called(pooled, **EDITED, control_image=PIXELS, pag_scale=2.0)
    ),
    "StableDiffusion3PAGImg2ImgPipeline": Sample(
        with_vae(transformer(SD3Transformer2DModel, **SD3)),
        called(pooled, **SIZE, **EDITED, pag_scale=2.0),
        network="transformer",
    ),
    "StableDiffusionXLInstructPix2PixPipeline": Sample(
        stable(lambda: unet_xl(8)), called(pooled, **SIZE, image=PIXELS)
    ),
    "LatentConsistencyModelImg2ImgPipeline": Sample(
        stable(lambda: unet(time_cond_proj_dim=8), scheduler=LCMScheduler()),
        lambda guided: {"prompt_embeds": words(1.0), "num_inference_steps": 2, "output_type": "latent"} | EDITED,
        runs=(False,),
    ),
    "Lumina2Pipeline": Sample(
        with_vae(
            transformer(
                Lumina2Transformer2DModel,
                sample_size=8,
                in_channels=4,
                hidden_size=8,
                num_layers=1,
                num_refiner_layers=1,
                num_attention_heads=1,
                num_kv_heads=1,
                multiple_of=8,
                axes_dim_rope=(4, 2, 2),
                axes_lens=(32, 16, 16),
                cap_feat_dim=WIDTH,
            )
        ),
        called(masked, **SIZE),
        network="transformer",
    ),
    "LattePipeline": Sample(
        with_vae(
            transformer(
                LatteTransformer3DModel,
                flow=False,
                num_attention_heads=2,
                attention_head_dim=4,
                in_channels=4,
                out_channels=8,
                num_layers=1,
                cross_attention_dim=8,
                caption_channels=WIDTH,
                sample_size=8,
                patch_size=2,
                norm_type="ada_norm_single",
                video_length=1,
            )
        ),
        called(**SIZE, video_length=1, negative_prompt=None, clean_caption=False),
        network="transformer",
    ),
    "CogVideoXPipeline": Sample(
        transformer(
            CogVideoXTransformer3DModel,
            flow=False,
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=4,
            out_channels=4,
            time_embed_dim=4,
            text_embed_dim=WIDTH,
            num_layers=1,
            sample_width=2,
            sample_height=2,
            sample_frames=9,
            max_text_seq_length=5,
        ),
        called(**SIZE, num_frames=9),
        network="transformer",
    ),
}
